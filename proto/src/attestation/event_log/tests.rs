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

const VARIABLE: u32 = EV_EFI_VARIABLE_DRIVER_CONFIG;
const SEPARATOR: u32 = 4;

fn variable(value: u8) -> Vec<u8> {
    [&secure_boot_variable()[..], &[value]].concat()
}

fn extended(start: [u8; 32], data: &[u8]) -> [u8; 32] {
    sha256(&[&start, &sha256(&[data])])
}

/// What a machine's log says that was really measured, all in PCR 7.
fn said(events: &[(u32, &[u8])]) -> Option<bool> {
    let value = events.iter().fold([0; 32], |value, (_, data)| extended(value, data));
    let events: Vec<_> = events.iter().map(|(kind, data)| (7, *kind, *data)).collect();
    replay(&log(&events), &[7], &[value]).unwrap().0
}

/// The same with the type and the data beside one digest exchanged for others.
fn forged(events: &[(u32, &[u8])], at: usize, other: (u32, &[u8])) -> Option<bool> {
    let value = events.iter().fold([0; 32], |value, (_, data)| extended(value, data));
    let mut told: Vec<_> = events.iter().map(|(kind, data)| (7, *kind, *data)).collect();
    let digest = sha256(&[told[at].2]);
    told[at] = (7, other.0, other.1);
    let mut bytes = log(&told);
    let of_other = sha256(&[other.1]);
    let found = bytes.windows(32).enumerate().filter(|(_, window)| *window == of_other);
    // Where the data stand twice, the last is the one that this is about.
    let place = found.map(|(place, _)| place).next_back().unwrap();
    bytes[place..place + 32].copy_from_slice(&digest);
    replay(&bytes, &[7], &[value]).unwrap().0
}

#[test]
fn replays_and_reads_secure_boot() {
    for (value, expected) in [(0, Some(false)), (1, Some(true)), (2, None)] {
        for separator in [[0; 4], [0xff; 4]] {
            let events: [(u32, &[u8]); 3] =
                [(VARIABLE, &variable(value)), (VARIABLE, b"keys"), (SEPARATOR, &separator)];
            assert_eq!(said(&events), expected, "{value}");
        }
    }
    let data = variable(1);
    let log = log(&[(7, VARIABLE, &data), (7, SEPARATOR, &[0; 4])]);
    let [value, pcr_0] = [extended(extended([0; 32], &data), &[0; 4]), [0; 32]];
    assert_eq!(replay(&log, &[7], &[value]), Ok(SecureBoot(Some(true))));
    assert_eq!(replay(&log, &[0], &[pcr_0]), Ok(SecureBoot(None)), "nobody quoted PCR 7");
}

#[test]
fn what_is_measured_behind_the_separator_says_nothing() {
    let (off, on) = (variable(0), variable(1));
    let separator: (u32, &[u8]) = (SEPARATOR, &[0; 4]);
    // Root, after the start.
    assert_eq!(said(&[separator, (VARIABLE, &on)]), None);
    assert_eq!(said(&[separator, (VARIABLE, &on), separator]), None);
    assert_eq!(said(&[(VARIABLE, &off), separator, (VARIABLE, &on)]), Some(false));
    assert_eq!(said(&[(VARIABLE, &on), separator, (VARIABLE, &off)]), Some(true));
    // Where the firmware's words end is not known.
    assert_eq!(said(&[(VARIABLE, &on)]), None);
    // It could not measure.
    assert_eq!(said(&[(VARIABLE, &on), (SEPARATOR, &[1, 0, 0, 0])]), None);
}

#[test]
fn types_and_data_are_bound_by_nothing_and_change_nothing() {
    let (off, on) = (variable(0), variable(1));
    let start: [(u32, &[u8]); 4] = [(VARIABLE, &off), (SEPARATOR, &[0; 4]), (VARIABLE, &on), (SEPARATOR, &[0; 4])];
    // The true separator under another name, so that the one that root measured looks like it.
    assert_eq!(forged(&start, 1, (VARIABLE, b"no separator")), Some(false));
    let bare = &start[1..];
    assert_eq!(forged(bare, 0, (VARIABLE, b"no separator")), None);
    // The true variable under another name or with other data.
    assert_eq!(forged(&start[..2], 0, (5, &off)), None);
    assert_eq!(forged(&start[..2], 0, (VARIABLE, &on)), None);
    assert_eq!(forged(&start[..2], 0, (VARIABLE, b"something else")), None);
    // Something else under its name.
    let good: [(u32, &[u8]); 3] = [(VARIABLE, &on), (VARIABLE, b"keys"), (SEPARATOR, &[0; 4])];
    assert_eq!(said(&good), Some(true));
    assert_eq!(forged(&good, 1, (VARIABLE, &on)), None);
    // Twice the same, and not the same.
    assert_eq!(said(&[good[0], good[0], good[2]]), Some(true));
    assert_eq!(said(&[(VARIABLE, &off), good[0], good[2]]), None);
    assert_eq!(said(&[good[0], (VARIABLE, &variable(2)), good[2]]), None);
}

#[test]
fn a_log_that_leads_elsewhere_is_dropped() {
    let log = log(&[(7, VARIABLE, &variable(1))]);
    assert_eq!(replay(&log, &[7], &[[0; 32]]), Err(EventLogError::Replay(7)));
    for cut in 0..log.len() {
        assert!(replay(&log[..cut], &[7], &[extended([0; 32], &variable(1))]).is_err(), "cut at {cut}");
    }
}

#[test]
fn pcr_0_begins_at_its_locality() {
    let log = log(&[(0, EV_NO_ACTION, b"StartupLocality\0\x03"), (0, 8, b"x")]);
    let mut start = [0; 32];
    start[31] = 3;
    assert_eq!(replay(&log, &[0], &[extended(start, b"x")]), Ok(SecureBoot(None)));
}

#[test]
fn nothing_behind_a_measurement_begins_pcr_0_anew() {
    let log = log(&[(0, 8, b"never measured"), (0, EV_NO_ACTION, b"StartupLocality\0\x00"), (0, 8, b"x")]);
    assert_eq!(replay(&log, &[0], &[extended([0; 32], b"x")]), Err(EventLogError::Replay(0)));
    let both = extended(extended([0; 32], b"never measured"), b"x");
    assert_eq!(replay(&log, &[0], &[both]), Ok(SecureBoot(None)));
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
