//! Any bytes as an environment, with NUL after each entry: there is no panic, every number is accepted by the kernel, a
//! second entry of the same name changes nothing, and in secure-execution mode no texts are read.
#![no_main]

use keepalive_policy::{Environment, Number, OPTIONS, Settings, SocketOption};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for secure in [false, true] {
        let mut environment = Environment::default();
        for entry in text.split(|byte| *byte == 0) {
            if let Err(invalid) = environment.read(entry, secure) {
                assert_eq!([invalid.name, b"=", invalid.value].concat(), entry);
                assert!(!invalid.reason.is_empty() && !invalid.expected.is_empty());
            }
        }
        let settings = environment.settings();
        for option in OPTIONS {
            let (smallest, largest) = option.row().range;
            if let Number::Is(number) = settings.written(option) {
                assert!((smallest..=largest).contains(&number), "{option:?} {number}");
            }
        }
        let longest = settings.user_timeout_ms(u32::MAX, u32::MAX, u32::MAX);
        assert!(longest <= Some(SocketOption::UserTimeout.row().range.1));
        let before = policy(&environment);
        if secure {
            assert_eq!((before.0.mode, before.1), (None, [None; 3]));
        }
        for entry in text.split(|byte| *byte == 0) {
            assert_eq!(environment.read(entry, secure), Ok(()), "a second time");
        }
        assert_eq!(policy(&environment), before);
    }
});

/// Returns everything that an environment sets: the settings and the texts.
fn policy<'a>(environment: &Environment<'a>) -> (Settings, [Option<&'a [u8]>; 3]) {
    let texts = [environment.log, environment.rules, environment.config];
    (environment.settings(), texts)
}
