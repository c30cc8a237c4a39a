//! The texts of the kernel's errors.

use std::ffi::CStr;
use std::io;

/// Returns the text of an error as `strerror(3)` does: without the number that std appends to the kernel's errors.
pub fn describe(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), text)
}

fn text(errno: i32) -> String {
    let mut text = [0_u8; 128];
    // SAFETY: strerror_r(3), the POSIX function in libc's binding, writes at most `text.len()` bytes with a null byte at the
    // end; both outlive the call.
    let _ = unsafe { libc::strerror_r(errno, text.as_mut_ptr().cast(), text.len()) };
    match CStr::from_bytes_until_nul(&text) {
        Ok(text) if !text.is_empty() => text.to_string_lossy().into_owned(),
        _ => format!("error {errno}"),
    }
}

/// Returns the name of an error that a TCP socket can have (errno(3)), or its number.
pub fn name(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::EIO => "EIO",
        libc::ENOMEM => "ENOMEM",
        libc::EPIPE => "EPIPE",
        libc::EPROTO => "EPROTO",
        libc::EBADMSG => "EBADMSG",
        libc::EMSGSIZE => "EMSGSIZE",
        libc::ENOPROTOOPT => "ENOPROTOOPT",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTDOWN => "EHOSTDOWN",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EACCES => "EACCES",
        libc::ENODEV => "ENODEV",
        libc::ENONET => "ENONET",
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_no_number() {
        assert_eq!(describe(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(describe(&io::Error::other("no number")), "no number");
        let wrapped = io::Error::other(describe(&io::Error::from_raw_os_error(13)));
        assert_eq!(describe(&wrapped), "Permission denied");
    }
}
