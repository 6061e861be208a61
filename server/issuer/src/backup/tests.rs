use super::*;

#[test]
fn a_member_is_hashed_as_it_passes() {
    let mut hashing = Hashing::new(&b"abc"[..]);
    let mut out = Vec::new();
    hashing.read_to_end(&mut out).unwrap();
    assert_eq!(out, b"abc");
    assert_eq!(hex::encode(hashing.finish().0), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
