//! Formats programs as text, in the style of the kernel's own listings (`kernel/bpf/disasm.c`), which the
//! verifier's log also uses.

use crate::assembler::Instruction;
use std::fmt::{self, Write as _};

/// Returns one line per instruction, with its number.
pub fn listing(program: &[Instruction]) -> String {
    let mut text = String::new();
    let mut numbered = program.iter().enumerate();
    while let Some((number, instruction)) = numbered.next() {
        let second = (instruction.code == 0x18).then(|| numbered.next().map_or(0, |(_, second)| second.immediate));
        let line = Line {
            number: i64::try_from(number).unwrap_or(i64::MAX),
            instruction,
            second: second.unwrap_or(0),
        };
        let _ = writeln!(text, "{number:4}: {line}");
    }
    text
}

struct Line<'a> {
    number: i64,
    instruction: &'a Instruction,
    /// The upper half of a 64-bit value.
    second: i32,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Instruction {
            code,
            registers,
            offset,
            immediate,
        } = *self.instruction;
        let left = format!("r{}", registers & 15);
        let right = format!("r{}", registers >> 4);
        let size = ["u32", "u16", "u8", "u64"][usize::from(code >> 3 & 3)];
        let target = self.number + 1 + i64::from(offset);
        let operand = if code & 8 == 0 {
            immediate.to_string()
        } else {
            right.clone()
        };
        match code & 7 {
            0 => match registers >> 4 {
                1 => write!(to, "{left} = map[{immediate}]"),
                2 => write!(to, "{left} = map[{immediate}] value + {}", self.second),
                _ => {
                    let [low, high] = [immediate, self.second].map(|half| u64::from(half.cast_unsigned()));
                    write!(to, "{left} = {:#x} ll", high << 32 | low)
                }
            },
            1 => write!(to, "{left} = *({size} *)({right} {offset:+})"),
            2 => write!(to, "*({size} *)({left} {offset:+}) = {immediate}"),
            3 if code & 0xe0 == 0xc0 => write!(to, "lock *({size} *)({left} {offset:+}) += {right}"),
            3 => write!(to, "*({size} *)({left} {offset:+}) = {right}"),
            7 if code & 0xf0 == 0xb0 => write!(to, "{left} = {operand}"),
            7 => {
                let sign = match code >> 4 {
                    0 => "+=",
                    1 => "-=",
                    2 => "*=",
                    3 => "/=",
                    4 => "|=",
                    5 => "&=",
                    6 => "<<=",
                    7 => ">>=",
                    10 => "^=",
                    _ => "?",
                };
                write!(to, "{left} {sign} {operand}")
            }
            4 if code & 0xf0 == 0xb0 => write!(to, "{} = {}", left.replace('r', "w"), operand.replace('r', "w")),
            4 => write!(to, "{left} = be{immediate} {left}"),
            5 if code == 0x95 => to.write_str("exit"),
            5 if code == 0x85 && registers >> 4 == 1 => {
                write!(to, "call pc{immediate:+}: {}", self.number + 1 + i64::from(immediate))
            }
            5 if code == 0x85 => write!(to, "call {}", helper(immediate)),
            5 if code == 0x05 => write!(to, "goto {target}"),
            5 | 6 => {
                let sign = match code >> 4 {
                    1 => "==",
                    2 => ">",
                    3 => ">=",
                    5 => "!=",
                    6 => "s>",
                    10 => "<",
                    11 => "<=",
                    _ => "?",
                };
                let left = if code & 7 == 6 { left.replace('r', "w") } else { left };
                write!(to, "if {left} {sign} {operand} goto {target}")
            }
            _ => write!(to, "?"),
        }
    }
}

fn helper(number: i32) -> String {
    match number {
        1 => "map_lookup_elem",
        2 => "map_update_elem",
        3 => "map_delete_elem",
        5 => "ktime_get_ns",
        14 => "get_current_pid_tgid",
        35 => "get_current_task",
        46 => "get_socket_cookie",
        49 => "setsockopt",
        57 => "getsockopt",
        59 => "sock_ops_cb_flags_set",
        107 => "sk_storage_get",
        113 => "probe_read_kernel",
        118 => "jiffies64",
        127 => "seq_write",
        131 => "ringbuf_reserve",
        132 => "ringbuf_submit",
        137 => "skc_to_tcp_sock",
        158 => "get_current_task_btf",
        _ => return number.to_string(),
    }
    .to_owned()
}
