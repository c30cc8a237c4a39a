//! The functions of the running kernel, by name (`/proc/kallsyms`, proc(5)): what a kernel has cannot always be asked otherwise, and
//! not without privileges.

use std::fs;

/// Whether the kernel has a function of this name, which others in the kernel can call where `is_global`; `None` where the names
/// cannot be read.
pub fn has_function(name: &str, is_global: bool) -> Option<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms")
        .ok()
        .filter(|symbols| !symbols.is_empty())?;
    Some(symbols.lines().any(|line| is_function(line, name, is_global)))
}

/// Whether a line, which has an address, a kind and a name, is of that function.
fn is_function(line: &str, name: &str, is_global: bool) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let kind = words.next();
    (kind == Some("T") || kind == Some("t") && !is_global) && words.next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_from_others_of_the_name() {
        let line = "ffffffff81c0a2b0 t tcp_close\t[module]";
        assert!(is_function(line, "tcp_close", false));
        assert!(!is_function(line, "tcp_close", true));
        assert!(!is_function(line, "tcp_clos", false));
        assert!(is_function("0000000000000000 T tcp_close", "tcp_close", true));
        assert!(!is_function("0000000000000000 r tcp_close", "tcp_close", false));
    }
}
