use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), extra in any::<[u8; 32]>()) {
        let _ = TpmPublic::parse(&bytes);
        let _ = EkPublic::parse(&bytes);
        let _ = DeviceKeySet::parse(&bytes, &bytes, &bytes);
        let _ = extra;
    }
}
