//! The functions of the running kernel, by name (`/proc/kallsyms`, proc(5)). Some features of a kernel cannot
//! be detected otherwise, or not without privileges.

use std::fs;

/// Returns whether the kernel has a function with this name. With `is_global`, other code in the kernel must
/// be able to call it. Returns `None` if the names cannot be read.
pub fn has_function(name: &str, is_global: bool) -> Option<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms")
        .ok()
        .filter(|symbols| !symbols.is_empty())?;
    Some(symbols.lines().any(|line| is_function(line, name, is_global)))
}

/// Returns whether a line, which contains an address, a kind and a name, describes that function.
fn is_function(line: &str, name: &str, is_global: bool) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let kind = words.next();
    (kind == Some("T") || kind == Some("t") && !is_global) && words.next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_other_kinds_with_the_name_are_ignored() {
        let line = "ffffffff81c0a2b0 t tcp_close\t[module]";
        assert!(is_function(line, "tcp_close", false));
        assert!(!is_function(line, "tcp_close", true));
        assert!(!is_function(line, "tcp_clos", false));
        assert!(is_function("0000000000000000 T tcp_close", "tcp_close", true));
        assert!(!is_function("0000000000000000 r tcp_close", "tcp_close", false));
    }
}
