//! The firmware's event log (TCG PC Client Platform Firmware Profile, section 10), in its crypto-agile form: replayed against
//! the quoted PCRs, and only then asked about Secure Boot.
//!
//! The log is text from the machine, and the TPM vouches for one thing in it alone: the digests, in their order. What an event is called
//! and which data stand beside it is bound by nothing, so that whatever is believed here is told by its digest:
//!
//! - a log counts where its digests lead to the quoted values;
//! - PCR 7 holds the firmware's own words up to the separator, which is known by its digest under whatever type it stands. What comes behind it
//!   was measured by a boot loader, or by root, who can extend PCR 7 for as long as the machine runs;
//! - `SecureBoot` has two values, and so its variable two digests. Both, or one under a false name, or data that say otherwise: nothing is said.
//!
//! The start of PCR 0 is the one thing that no digest tells. It is taken before the first measurement only, where the quote proves it.

use thiserror::Error;

use crate::encoding::sha256;

const SHA256: u16 = 0x000b;
const EV_NO_ACTION: u32 = 3;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
/// `EFI_GLOBAL_VARIABLE`, 8be4df61-93ca-11d2-aa0d-00e098032b8c, as it stands in memory.
const EFI_GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// What a separator measures: that all went well, in either form, or that something could not be measured (section 10.4.1).
const SEPARATORS: [([u8; 4], bool); 3] = [([0; 4], true), ([0xff; 4], true), ([1, 0, 0, 0], false)];
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
    let mut firmware = FirmwareWords::new();
    let mut pcr_0_began = false;
    let mut events = 0;
    while !reader.0.is_empty() {
        events += 1;
        if events > MAX_EVENTS {
            return Err(EventLogError::Malformed);
        }
        let event = event(&mut reader, &sizes)?;
        if event.kind == EV_NO_ACTION {
            // Section 10.4.5.3: the one such event that matters says from which locality PCR 0 began. Behind a measurement it would undo it.
            if let (0, false, Some(locality), Some(first)) = (
                event.pcr,
                pcr_0_began,
                event.data.strip_prefix(b"StartupLocality\0").and_then(<[u8]>::first),
                state.first_mut(),
            ) {
                first[31] = *locality;
            }
            continue;
        }
        let digest = event.digest.ok_or(EventLogError::NoSha256)?;
        let value =
            usize::try_from(event.pcr).ok().and_then(|pcr| state.get_mut(pcr)).ok_or(EventLogError::Malformed)?;
        *value = sha256(&[value.as_slice(), &digest]);
        match event.pcr {
            0 => pcr_0_began = true,
            7 => firmware.hear(&event, digest),
            _ => {}
        }
    }
    for (pcr, quoted) in pcrs.iter().zip(values) {
        if state.get(usize::from(*pcr)) != Some(quoted) {
            return Err(EventLogError::Replay(*pcr));
        }
    }
    Ok(SecureBoot(firmware.secure_boot().filter(|_| pcrs.contains(&7))))
}

/// What the firmware measured into PCR 7 before its separator, as far as Secure Boot goes.
struct FirmwareWords {
    off: [u8; 32],
    on: [u8; 32],
    said: Option<bool>,
    disputed: bool,
    ended: bool,
}

impl FirmwareWords {
    fn new() -> Self {
        let digest = |value| sha256(&[&secure_boot_variable(), &[value]]);
        Self { off: digest(0), on: digest(1), said: None, disputed: false, ended: false }
    }

    fn hear(&mut self, event: &Event<'_>, digest: [u8; 32]) {
        if self.ended {
            return;
        }
        if let Some((_, went_well)) = SEPARATORS.iter().find(|(separator, _)| sha256(&[separator]) == digest) {
            self.ended = true;
            self.disputed |= !went_well;
            return;
        }
        let measured = [(self.off, false), (self.on, true)].iter().find(|(one, _)| *one == digest).map(|(_, on)| *on);
        let told = event.kind == EV_EFI_VARIABLE_DRIVER_CONFIG && names_secure_boot(event.data);
        if measured.is_none() && !told {
            return;
        }
        let agree = told && sha256(&[event.data]) == digest && self.said.is_none_or(|said| measured == Some(said));
        self.disputed |= !agree || measured.is_none();
        self.said = measured;
    }

    fn secure_boot(&self) -> Option<bool> {
        self.said.filter(|_| self.ended && !self.disputed)
    }
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

/// `UEFI_VARIABLE_DATA` of `SecureBoot`, up to its one byte of value.
fn secure_boot_variable() -> Vec<u8> {
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&EFI_GLOBAL_VARIABLE[..], &10_u64.to_le_bytes(), &1_u64.to_le_bytes(), &name].concat()
}

/// Whether `data` is `UEFI_VARIABLE_DATA` of `SecureBoot`, with a value of any length.
fn names_secure_boot(data: &[u8]) -> bool {
    let same = |of: &[u8]| Some((of.get(..24)?.to_vec(), of.get(32..52)?.to_vec()));
    same(data).is_some_and(|named| Some(named) == same(&secure_boot_variable()))
}

#[cfg(test)]
mod tests;
