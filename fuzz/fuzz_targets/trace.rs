//! Any bytes as a record of the eBPF program of `keepalive trace`: there is no panic, and a connection was not idle for
//! longer than it lived.
#![no_main]

use keepalive_engine::trace::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(Record::decode(bytes).is_some(), bytes.len() == Record::SIZE);
    let mut whole = bytes.to_vec();
    whole.resize(Record::SIZE, 0);
    let Some(record) = Record::decode(&whole) else {
        return;
    };
    for hz in [100, 250, 300, 1000] {
        if let Some(ended) = record.ended(hz)
            && let Some(lived) = ended.lived
        {
            assert!(ended.idle <= lived);
        }
    }
});
