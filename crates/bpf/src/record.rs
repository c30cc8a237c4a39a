//! The data of the program of an established connection: counters, and a text that describes the policy. One
//! map that belongs to the program contains both, so that they are created and freed with the program.

/// The offset of the counters, which follow their number and the length of the text.
const BEGIN: usize = 8;

/// Returns the offset of counter `number` in the map's value.
pub(crate) fn place(number: usize) -> u32 {
    u32::try_from(BEGIN + 8 * number).unwrap_or(u32::MAX)
}

/// What a program's map contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The counters of connections and refusals.
    pub counters: Vec<u64>,
    /// The counters of ended connections; empty if the program does not count them.
    pub ended: Vec<u64>,
    /// The text that describes the policy.
    pub text: String,
}

/// Returns the value for a new program with this number of counters, this number of counters of ended connections, and this
/// text. The latter counters follow the text, where versions that do not know them do not read.
pub fn new(counters: usize, ended: usize, text: &str) -> Vec<u8> {
    let lengths = [counters, text.len()].map(|length| u32::try_from(length).unwrap_or(u32::MAX));
    let mut value: Vec<u8> = lengths.iter().flat_map(|length| length.to_ne_bytes()).collect();
    value.resize(BEGIN + 8 * counters, 0);
    value.extend(text.bytes());
    value.resize(place_of_ended(counters, text) + 8 * ended, 0);
    value
}

/// Returns the offset of the counters of ended connections.
pub fn place_of_ended(counters: usize, text: &str) -> usize {
    (BEGIN + 8 * counters + text.len()).next_multiple_of(8)
}

/// Returns the content of a value; `None` if another program created the value.
pub fn read(value: &[u8]) -> Option<Record> {
    let (words, _) = value.as_chunks::<4>();
    let [counters, length] = [0, 1].map(|index: usize| words.get(index).map(|word| u32::from_ne_bytes(*word)));
    let [counters, length] = [counters?, length?].map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let begin = counters.checked_mul(8)?.checked_add(BEGIN)?;
    let numbers = |bytes: &[u8]| -> Vec<u64> {
        let (numbers, _) = bytes.as_chunks::<8>();
        numbers.iter().map(|number| u64::from_ne_bytes(*number)).collect()
    };
    let text = String::from_utf8(value.get(begin..)?.get(..length)?.to_vec()).ok()?;
    Some(Record {
        counters: numbers(value.get(BEGIN..begin)?),
        ended: numbers(value.get(place_of_ended(counters, &text)..).unwrap_or_default()),
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_data_is_read_back() {
        let mut value = new(3, 2, "default idle=60s");
        let mut record = Record {
            counters: vec![0, 0, 0],
            ended: vec![0, 0],
            text: String::from("default idle=60s"),
        };
        assert_eq!(read(&value), Some(record.clone()));
        let place = usize::try_from(place(1)).unwrap();
        value[place..place + 8].copy_from_slice(&7_u64.to_ne_bytes());
        let place = place_of_ended(3, "default idle=60s") + 8;
        value[place..place + 8].copy_from_slice(&9_u64.to_ne_bytes());
        (record.counters[1], record.ended[1]) = (7, 9);
        assert_eq!(read(&value), Some(record));
    }

    #[test]
    fn value_of_a_version_without_counters_of_ended_connections_is_read() {
        // As version 0.1 wrote it: the text is padded to a multiple of eight bytes, and nothing follows.
        let mut value = [3_u32, 5].map(u32::to_ne_bytes).concat();
        value.extend([4_u64, 1, 0].map(u64::to_ne_bytes).concat());
        value.extend(b"texts\0\0\0");
        let record = read(&value).unwrap();
        assert_eq!((record.counters, record.text.as_str()), (vec![4, 1, 0], "texts"));
        assert_eq!(record.ended, []);
    }

    #[test]
    fn truncated_input_is_empty() {
        let value = new(2, 0, "text of 16 bytes");
        for length in 0..value.len() {
            assert_eq!(read(&value[..length]), None, "{length}");
        }
        assert_eq!(read(&[0xff; 64]), None);
    }
}
