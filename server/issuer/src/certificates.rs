//! Files of certificates, PEM or DER, as makers publish them and TPMs hold them; and where one does not read, which one, and at which byte.
//!
//! The parser is the library's. It says that a certificate does not read and not where, so a second, coarser look at the fields of
//! RFC 5280 section 4.1 finds the place; it decides nothing.

use std::fmt;

use daypass_proto::attestation::EkCertificate;
use rustls_pki_types::{
    CertificateDer,
    pem::{Error as PemError, PemObject as _},
};
use thiserror::Error;
use x509_parser::{
    prelude::{AlgorithmIdentifier, FromDer, SubjectPublicKeyInfo, Validity, X509Extension},
    x509::X509Name,
};

/// The largest file that is read, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;

const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// What a file of certificates is not.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CertificatesError {
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// Nothing that begins like one.
    #[error("it has neither PEM (`-----BEGIN CERTIFICATE-----`) nor DER, which begins with 0x30, in it")]
    None,
    /// PEM that does not read.
    #[error("certificate {number}, whose PEM begins in line {line}, {why}")]
    Pem {
        /// Counted from 1.
        number: usize,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A certificate that does not read.
    #[error("certificate {number} ({place}) {fault}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// Where it is.
        place: Place,
        /// What is wrong with it.
        fault: DerFault,
    },
    /// Something behind a certificate.
    #[error(
        "behind certificate {number}, at byte {at} of the file, stands neither another one nor the padding of a TPM's NV"
    )]
    Behind {
        /// Counted from 1.
        number: usize,
        /// In the file.
        at: usize,
    },
}

/// Where in a file a certificate is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// PEM, from this line on.
    Line(usize),
    /// DER, from this byte on.
    Byte(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "PEM, from line {line}"),
            Self::Byte(at) => write!(f, "DER, from byte {at}"),
        }
    }
}

/// Where a certificate stops making sense.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DerFault {
    field: String,
    at: usize,
    why: &'static str,
}

impl fmt::Display for DerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "does not read: {}, at byte {} of its DER, {}", self.field, self.at, self.why)
    }
}

/// Every certificate of a file, in DER, with whatever padding the last one has behind it; all of them read.
pub fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, CertificatesError> {
    if bytes.is_empty() {
        return Err(CertificatesError::Empty);
    }
    let begins: Vec<usize> =
        bytes.windows(PEM.len()).enumerate().filter(|(_, window)| *window == PEM).map(|(at, _)| at).collect();
    if begins.is_empty() { concatenated(bytes) } else { in_pem(bytes, &begins) }
}

fn in_pem(bytes: &[u8], begins: &[usize]) -> Result<Vec<Vec<u8>>, CertificatesError> {
    let line_of = |number: usize| {
        let before = begins.get(number - 1).and_then(|at| bytes.get(..*at)).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    };
    let mut all = Vec::new();
    for (number, one) in (1..).zip(CertificateDer::pem_slice_iter(bytes)) {
        let line = line_of(number);
        let der = one.map_err(|error| CertificatesError::Pem { number, line, why: pem_fault(&error) })?;
        read(&der, number, Place::Line(line))?;
        all.push(der.to_vec());
    }
    // One that is no section of its own: its line goes on, or stands inside another.
    match all.len() {
        found if found == begins.len() => Ok(all),
        found => {
            let why = "is not a PEM section: `-----BEGIN CERTIFICATE-----` must be a whole line, outside of any other section";
            Err(CertificatesError::Pem { number: found + 1, line: line_of(found + 1), why })
        }
    }
}

fn pem_fault(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "has no line `-----END CERTIFICATE-----`",
        PemError::Base64Decode(_) => "has something else than base64 between its first and last line",
        PemError::IllegalSectionStart { .. } => "has a first line that does not end in `-----`",
        _ => "does not read as PEM",
    }
}

/// Certificates in DER, one behind the other; padding stays with the last.
fn concatenated(bytes: &[u8]) -> Result<Vec<Vec<u8>>, CertificatesError> {
    if bytes.first() != Some(&SEQUENCE) {
        return Err(CertificatesError::None);
    }
    let (mut all, mut at) = (Vec::new(), 0);
    loop {
        let (number, rest) = (all.len() + 1, bytes.get(at..).unwrap_or_default());
        let unread = |fault| CertificatesError::Certificate { number, place: Place::Byte(at), fault };
        let (behind, certificate) = x509_parser::parse_x509_certificate(rest).map_err(|_| unread(fault_of(rest)))?;
        let end = at + certificate.as_raw().len();
        if behind.first() == Some(&SEQUENCE) {
            all.push(certificate.as_raw().to_vec());
            at = end;
            continue;
        }
        EkCertificate::parse(rest).map_err(|_| CertificatesError::Behind { number, at: end })?;
        all.push(rest.to_vec());
        return Ok(all);
    }
}

fn read(der: &[u8], number: usize, place: Place) -> Result<(), CertificatesError> {
    match EkCertificate::parse(der) {
        Ok(_) => Ok(()),
        Err(_) => Err(CertificatesError::Certificate { number, place, fault: fault_of(der) }),
    }
}

/// Where `der`, which does not read, goes wrong first.
fn fault_of(der: &[u8]) -> DerFault {
    look_through(der).err().unwrap_or_else(|| DerFault {
        field: "the certificate".to_owned(),
        at: 0,
        why: "is none, or has something behind it, though each of its fields reads",
    })
}

/// One element of DER: where its content begins and where it ends.
#[derive(Clone, Copy)]
struct Element {
    at: usize,
    content: usize,
    end: usize,
}

/// What is looked at, up to where the element around it ends.
struct Look<'a> {
    der: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Look<'a> {
    fn fault<T>(&self, field: &str, why: &'static str) -> Result<T, DerFault> {
        Err(DerFault { field: field.to_owned(), at: self.at, why })
    }

    fn next_is(&self, tag: u8) -> bool {
        self.at < self.end && self.der.get(self.at) == Some(&tag)
    }

    /// Goes past the element that is next.
    fn element(&mut self, tag: u8, field: &str) -> Result<Element, DerFault> {
        if self.at >= self.end {
            return self.fault(field, "is missing");
        }
        if !self.next_is(tag) {
            return self.fault(field, "is of another type");
        }
        let Some(first) = self.der.get(self.at + 1) else { return self.fault(field, "ends before its length") };
        let (length, digits) = match *first {
            short @ 0..=0x7f => (Some(usize::from(short)), 0),
            long @ 0x81..=0x84 => {
                let digits = usize::from(long & 0x7f);
                let bytes = self.der.get(self.at + 2..self.at + 2 + digits);
                (bytes.map(|bytes| bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))), digits)
            }
            _ => return self.fault(field, "has a length that DER does not have"),
        };
        let content = self.at + 2 + digits;
        let Some(end) = length.and_then(|length| content.checked_add(length)).filter(|end| *end <= self.end) else {
            return self.fault(field, "says that it is longer than what there is");
        };
        let element = Element { at: self.at, content, end };
        self.at = end;
        Ok(element)
    }

    fn inside(&self, element: Element) -> Look<'a> {
        Look { der: self.der, at: element.content, end: element.end }
    }

    /// Goes past the element that is next, which must read as a `T`.
    fn reads<T: FromDer<'a, x509_parser::error::X509Error>>(&mut self, field: &str) -> Result<(), DerFault> {
        let element = self.element(SEQUENCE, field)?;
        match self.der.get(element.at..element.end).map(T::from_der) {
            Some(Ok(_)) => Ok(()),
            _ => Err(DerFault { field: field.to_owned(), at: element.at, why: "has content that does not read" }),
        }
    }
}

/// RFC 5280 section 4.1, field by field.
fn look_through(der: &[u8]) -> Result<(), DerFault> {
    let mut file = Look { der, at: 0, end: der.len() };
    let certificate = file.element(SEQUENCE, "the certificate")?;
    let mut outer = file.inside(certificate);
    let signed = outer.element(SEQUENCE, "the signed part (`tbsCertificate`)")?;
    let mut tbs = outer.inside(signed);
    if tbs.next_is(0xa0) {
        tbs.element(0xa0, "`version`")?;
    }
    tbs.element(INTEGER, "`serialNumber`")?;
    tbs.reads::<AlgorithmIdentifier<'_>>("`signature`")?;
    tbs.reads::<X509Name<'_>>("`issuer`")?;
    tbs.reads::<Validity>("`validity`")?;
    tbs.reads::<X509Name<'_>>("`subject`")?;
    tbs.reads::<SubjectPublicKeyInfo<'_>>("`subjectPublicKeyInfo`")?;
    for (tag, field) in [(0x81, "`issuerUniqueID`"), (0x82, "`subjectUniqueID`")] {
        if tbs.next_is(tag) {
            tbs.element(tag, field)?;
        }
    }
    if tbs.next_is(0xa3) {
        let tagged = tbs.element(0xa3, "`extensions`")?;
        let list = tbs.inside(tagged).element(SEQUENCE, "`extensions`")?;
        let mut list = tbs.inside(list);
        let mut number = 0;
        while list.at < list.end {
            number += 1;
            list.reads::<X509Extension<'_>>(&format!("extension {number}"))?;
        }
    }
    if tbs.at < tbs.end {
        return tbs.fault("the signed part (`tbsCertificate`)", "goes on behind its last field");
    }
    outer.reads::<AlgorithmIdentifier<'_>>("`signatureAlgorithm`")?;
    outer.element(BIT_STRING, "`signatureValue`")?;
    if outer.at < outer.end {
        return outer.fault("the certificate", "goes on behind its signature");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn made(name: &str) -> (Vec<u8>, String) {
        let mut params = CertificateParams::new(["example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (certificate.der().to_vec(), certificate.pem())
    }

    fn why(bytes: &[u8]) -> String {
        certificates(bytes).unwrap_err().to_string()
    }

    #[test]
    fn files_as_makers_and_tpms_have_them() {
        let ((one, one_pem), (two, two_pem)) = (made("one"), made("two"));
        let padded = [&two[..], &[0xff; 9]].concat();
        assert_eq!(certificates(&one).unwrap(), std::slice::from_ref(&one));
        assert_eq!(certificates(&[&one[..], &padded].concat()).unwrap(), [one.clone(), padded]);
        let text = format!("subject=one\n{one_pem}\nsubject=two\r\n{}", two_pem.replace('\n', "\r\n"));
        assert_eq!(certificates(text.as_bytes()).unwrap(), [one, two]);
    }

    #[test]
    fn what_is_no_file_of_certificates() {
        assert_eq!(certificates(b""), Err(CertificatesError::Empty));
        assert_eq!(certificates(b"hello"), Err(CertificatesError::None));
    }

    #[test]
    fn pem_that_does_not_read_is_named_by_its_line() {
        let (one, two) = (made("one").1, made("two").1);
        let lines = one.lines().count();
        let at = |text: String| why(text.as_bytes());
        let second = format!("certificate 2, whose PEM begins in line {}, ", lines + 1);
        let (head, rest) = two.split_at(two.len() / 2);
        assert_eq!(
            at(format!("{one}{head}!{rest}")),
            second.clone() + "has something else than base64 between its first and last line"
        );
        let cut = two.replace("-----END CERTIFICATE-----", "");
        assert_eq!(at(format!("{one}{cut}")), second.clone() + "has no line `-----END CERTIFICATE-----`");
        assert!(at(format!("{one}x{two}")).starts_with(&second));
        // The PEM is good, and what stands in it is none.
        let nothing = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let said = at(format!("{one}{nothing}"));
        assert_eq!(
            said,
            format!(
                "certificate 2 (PEM, from line {}) does not read: the certificate, at byte 0 of its DER, is of another type",
                lines + 1
            )
        );
    }

    #[test]
    fn der_that_does_not_read_is_named_by_field_and_byte() {
        let (one, two) = (made("one").0, made("two").0);
        let cut = [&one[..], &two[..two.len() - 1]].concat();
        let said = format!(
            "certificate 2 (DER, from byte {}) does not read: the certificate, at byte 0 of its DER, says that it is longer than what there is",
            one.len()
        );
        assert_eq!(why(&cut), said);
        let behind = format!("behind certificate 1, at byte {} of the file", one.len());
        assert!(why(&[&one[..], b"text"].concat()).starts_with(&behind));
        // Each field that is spoilt is the one that is named, at its byte.
        let (_, parsed) = x509_parser::parse_x509_certificate(&one).unwrap();
        let place = |of: &[u8]| one.windows(of.len()).position(|window| window == of).unwrap();
        let issuer = place(parsed.issuer().as_raw());
        let serial = place(parsed.raw_serial()) - 2;
        let key = place(parsed.public_key().raw);
        for (at, field, fault_at) in [
            (4, "the signed part (`tbsCertificate`)", 4),
            (serial, "`serialNumber`", serial),
            (issuer, "`issuer`", issuer),
            (key, "`subjectPublicKeyInfo`", key),
            (key + 2, "`subjectPublicKeyInfo`", key),
        ] {
            let mut spoilt = one.clone();
            spoilt[at] = 0x1f;
            assert!(
                why(&spoilt).contains(&format!("does not read: {field}, at byte {fault_at} of its DER, ")),
                "{at}: {}",
                why(&spoilt)
            );
        }
        let signature = one.len() - parsed.signature_value.data.len() - 3;
        let mut spoilt = one.clone();
        spoilt[signature] = 0x04;
        assert!(why(&spoilt).contains("`signatureValue`, at byte"), "{}", why(&spoilt));
    }

    #[test]
    fn whatever_does_not_read_has_a_place_and_whatever_reads_has_none() {
        let one = made("one").0;
        assert!(look_through(&one).is_ok());
        for at in 0..one.len() {
            for byte in [0x00, 0x1f, 0x80, 0xff, one[at] ^ 1] {
                let mut spoilt = one.clone();
                spoilt[at] = byte;
                // Some changes hurt nothing; none may panic, and no place is outside.
                if EkCertificate::parse(&spoilt).is_err() {
                    assert!(fault_of(&spoilt).at <= spoilt.len());
                }
            }
            assert!(look_through(&one[..at]).is_err(), "cut at {at}");
        }
    }
}
