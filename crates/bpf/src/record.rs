//! The data of the program of an established connection: counters, and a text that describes the policy. One
//! map that belongs to the program contains both, so that they are created and freed with the program.

/// The offset of the counters, which follow their number and the length of the text.
const BEGIN: usize = 8;

/// Returns the offset of counter `number` in the map's value.
pub(crate) fn place(number: usize) -> u32 {
    u32::try_from(BEGIN + 8 * number).unwrap_or(u32::MAX)
}

/// Returns the value for a new program with this number of counters and this text.
pub fn new(counters: usize, text: &str) -> Vec<u8> {
    let lengths = [counters, text.len()].map(|length| u32::try_from(length).unwrap_or(u32::MAX));
    let mut value: Vec<u8> = lengths.iter().flat_map(|length| length.to_ne_bytes()).collect();
    value.resize(BEGIN + 8 * counters, 0);
    value.extend(text.bytes());
    value.resize(value.len().next_multiple_of(8), 0);
    value
}

/// Returns the counters and the text of a value; `None` if another program created the value.
pub fn read(value: &[u8]) -> Option<(Vec<u64>, String)> {
    let (words, _) = value.as_chunks::<4>();
    let [counters, length] = [0, 1].map(|index: usize| words.get(index).map(|word| u32::from_ne_bytes(*word)));
    let [counters, length] = [counters?, length?].map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let text = counters.checked_mul(8)?.checked_add(BEGIN)?;
    let (counters, _) = value.get(BEGIN..text)?.as_chunks::<8>();
    let text = value.get(text..)?.get(..length)?;
    let counters = counters.iter().map(|counter| u64::from_ne_bytes(*counter)).collect();
    Some((counters, String::from_utf8(text.to_vec()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_data_is_read_back() {
        let mut value = new(3, "default idle=60s");
        assert_eq!(read(&value), Some((vec![0, 0, 0], "default idle=60s".to_owned())));
        let place = usize::try_from(place(1)).unwrap();
        value[place..place + 8].copy_from_slice(&7_u64.to_ne_bytes());
        assert_eq!(read(&value).unwrap().0, [0, 7, 0]);
    }

    #[test]
    fn truncated_input_is_empty() {
        let value = new(2, "text of 16 bytes");
        for length in 0..value.len() {
            assert_eq!(read(&value[..length]), None, "{length}");
        }
        assert_eq!(read(&[0xff; 64]), None);
    }
}
