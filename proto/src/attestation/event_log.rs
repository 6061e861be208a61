//! The firmware's event log (TCG PC Client Platform Firmware Profile, section 10), in its crypto-agile form: replayed against
//! the quoted PCRs, and only then asked about Secure Boot.
//!
//! The log is text from the machine: nothing in it counts unless the PCRs that it leads to are the quoted ones, and an event's data counts
//! only where its digest is the one that was extended.

use thiserror::Error;

use crate::encoding::sha256;

const SHA256: u16 = 0x000b;
const EV_NO_ACTION: u32 = 3;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
/// `EFI_GLOBAL_VARIABLE`, 8be4df61-93ca-11d2-aa0d-00e098032b8c, as it stands in memory.
const EFI_GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
const MAX_EVENTS: usize = 65_536;
const MAX_ALGORITHMS: u32 = 16;

/// Why a log was dropped.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum EventLogError {
    /// Ends in the middle, or has lengths that cannot be.
    #[error("the event log is truncated or malformed")]
    Malformed,
    /// No SHA-256 in it.
    #[error("the event log has no SHA-256 digests")]
    NoSha256,
    /// It leads to other values than the quoted ones.
    #[error("the event log does not replay to the quoted value of PCR {0}")]
    Replay(u8),
}

/// What a log that replays says of Secure Boot; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecureBoot(pub Option<bool>);

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], EventLogError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(EventLogError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EventLogError> {
        self.take(N)?.try_into().map_err(|_| EventLogError::Malformed)
    }

    fn u16(&mut self) -> Result<u16, EventLogError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, EventLogError> {
        self.array().map(u32::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, EventLogError> {
        usize::try_from(self.u32()?).map_err(|_| EventLogError::Malformed)
    }
}

/// Replays `log` for `pcrs` and compares with `values`.
pub(super) fn replay(log: &[u8], pcrs: &[u8], values: &[[u8; 32]]) -> Result<SecureBoot, EventLogError> {
    let mut reader = Reader(log);
    let sizes = header(&mut reader)?;
    let mut state = [[0_u8; 32]; 24];
    let mut secure_boot = None;
    let mut events = 0;
    while !reader.0.is_empty() {
        events += 1;
        if events > MAX_EVENTS {
            return Err(EventLogError::Malformed);
        }
        let event = event(&mut reader, &sizes)?;
        if event.kind == EV_NO_ACTION {
            // Section 10.4.5.3: the one such event that matters says from which locality PCR 0 began.
            if let (0, Some(locality), Some(first)) =
                (event.pcr, event.data.strip_prefix(b"StartupLocality\0").and_then(<[u8]>::first), state.first_mut())
            {
                *first = [0; 32];
                first[31] = *locality;
            }
            continue;
        }
        let digest = event.digest.ok_or(EventLogError::NoSha256)?;
        let value =
            usize::try_from(event.pcr).ok().and_then(|pcr| state.get_mut(pcr)).ok_or(EventLogError::Malformed)?;
        *value = sha256(&[value.as_slice(), &digest]);
        if event.pcr == 7 && event.kind == EV_EFI_VARIABLE_DRIVER_CONFIG && sha256(&[event.data]) == digest {
            secure_boot = secure_boot_variable(event.data).or(secure_boot);
        }
    }
    for (pcr, quoted) in pcrs.iter().zip(values) {
        if state.get(usize::from(*pcr)) != Some(quoted) {
            return Err(EventLogError::Replay(*pcr));
        }
    }
    Ok(SecureBoot(secure_boot.filter(|_| pcrs.contains(&7))))
}

/// The first event, in the old form, holds the digest sizes (`TCG_EfiSpecIdEvent`).
fn header(reader: &mut Reader<'_>) -> Result<Vec<(u16, usize)>, EventLogError> {
    reader.take(4 + 4 + 20)?;
    let length = reader.length()?;
    let mut spec = Reader(reader.take(length)?);
    if spec.take(16)? != b"Spec ID Event03\0" {
        return Err(EventLogError::NoSha256);
    }
    spec.take(4 + 1 + 1 + 1 + 1)?;
    let count = spec.u32()?;
    if count > MAX_ALGORITHMS {
        return Err(EventLogError::Malformed);
    }
    (0..count).map(|_| Ok((spec.u16()?, usize::from(spec.u16()?)))).collect()
}

struct Event<'a> {
    pcr: u32,
    kind: u32,
    digest: Option<[u8; 32]>,
    data: &'a [u8],
}

fn event<'a>(reader: &mut Reader<'a>, sizes: &[(u16, usize)]) -> Result<Event<'a>, EventLogError> {
    let (pcr, kind, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
    if count > MAX_ALGORITHMS {
        return Err(EventLogError::Malformed);
    }
    let mut digest = None;
    for _ in 0..count {
        let algorithm = reader.u16()?;
        let size =
            sizes.iter().find(|(id, _)| *id == algorithm).map(|(_, size)| *size).ok_or(EventLogError::Malformed)?;
        let bytes = reader.take(size)?;
        if algorithm == SHA256 {
            let one = bytes.try_into().map_err(|_| EventLogError::Malformed)?;
            // Of two, nothing says which was extended.
            if digest.replace(one).is_some() {
                return Err(EventLogError::Malformed);
            }
        }
    }
    let length = reader.length()?;
    Ok(Event { pcr, kind, digest, data: reader.take(length)? })
}

/// The value of `SecureBoot` in `UEFI_VARIABLE_DATA`, where `data` is about it.
fn secure_boot_variable(data: &[u8]) -> Option<bool> {
    let mut reader = Reader(data);
    let guid: [u8; 16] = reader.array().ok()?;
    let name_length = u64::from_le_bytes(reader.array().ok()?);
    let value_length = u64::from_le_bytes(reader.array().ok()?);
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    if guid != EFI_GLOBAL_VARIABLE || name_length != 10 || value_length != 1 || reader.take(name.len()).ok()? != name {
        return None;
    }
    match reader.0 {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(events: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut out = vec![0; 28];
        let spec = [
            b"Spec ID Event03\0".as_slice(),
            &[0, 0, 0, 0, 0, 2, 0, 2],
            &1_u32.to_le_bytes(),
            &SHA256.to_le_bytes(),
            &32_u16.to_le_bytes(),
            &[0],
        ]
        .concat();
        out.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
        out.extend(spec);
        for (pcr, kind, data) in events {
            out.extend(pcr.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend(1_u32.to_le_bytes());
            out.extend(SHA256.to_le_bytes());
            out.extend(sha256(&[data]));
            out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            out.extend(*data);
        }
        out
    }

    fn variable(value: u8) -> Vec<u8> {
        let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
        [&EFI_GLOBAL_VARIABLE[..], &10_u64.to_le_bytes(), &1_u64.to_le_bytes(), &name, &[value]].concat()
    }

    fn extended(start: [u8; 32], data: &[u8]) -> [u8; 32] {
        sha256(&[&start, &sha256(&[data])])
    }

    #[test]
    fn replays_and_reads_secure_boot() {
        for (value, expected) in [(0, Some(false)), (1, Some(true)), (2, None)] {
            let data = variable(value);
            let log = log(&[(7, EV_EFI_VARIABLE_DRIVER_CONFIG, &data)]);
            assert_eq!(replay(&log, &[7], &[extended([0; 32], &data)]), Ok(SecureBoot(expected)));
        }
    }

    #[test]
    fn a_log_that_leads_elsewhere_is_dropped() {
        let log = log(&[(7, EV_EFI_VARIABLE_DRIVER_CONFIG, &variable(1))]);
        assert_eq!(replay(&log, &[7], &[[0; 32]]), Err(EventLogError::Replay(7)));
        for cut in 0..log.len() {
            assert!(replay(&log[..cut], &[7], &[extended([0; 32], &variable(1))]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn data_that_was_not_measured_says_nothing() {
        let data = variable(0);
        let mut log = log(&[(7, EV_EFI_VARIABLE_DRIVER_CONFIG, &data)]);
        *log.last_mut().unwrap() = 1;
        assert_eq!(replay(&log, &[7], &[extended([0; 32], &data)]), Ok(SecureBoot(None)));
    }

    #[test]
    fn pcr_0_begins_at_its_locality() {
        let log = log(&[(0, EV_NO_ACTION, b"StartupLocality\0\x03"), (0, 8, b"x")]);
        let mut start = [0; 32];
        start[31] = 3;
        assert_eq!(replay(&log, &[0], &[extended(start, b"x")]), Ok(SecureBoot(None)));
    }

    #[test]
    fn one_digest_an_event_and_an_end() {
        let good = log(&[(0, 8, b"x")]);
        let digest = [&SHA256.to_le_bytes()[..], &sha256(&[b"x"])].concat();
        let at = good.windows(digest.len()).position(|window| window == digest).unwrap();
        let mut twice = [&good[..at], &digest, &good[at..]].concat();
        twice[at - 4] = 2;
        assert_eq!(replay(&good, &[0], &[extended([0; 32], b"x")]), Ok(SecureBoot(None)));
        assert_eq!(replay(&twice, &[0], &[extended([0; 32], b"x")]), Err(EventLogError::Malformed));
        // Events that are only remarks lead nowhere, so that the number alone decides.
        let remark: (u32, u32, &[u8]) = (0, EV_NO_ACTION, b"");
        assert_eq!(replay(&log(&vec![remark; MAX_EVENTS]), &[0], &[[0; 32]]), Ok(SecureBoot(None)));
        assert_eq!(replay(&log(&vec![remark; MAX_EVENTS + 1]), &[0], &[[0; 32]]), Err(EventLogError::Malformed));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = replay(&bytes, &[0, 7], &[[0; 32], [0; 32]]);
            let _ = replay(&[log(&[]), bytes].concat(), &[0, 7], &[[0; 32], [0; 32]]);
        }
    }
}
