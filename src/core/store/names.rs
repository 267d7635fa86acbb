//! Names of the files of an object.

use crate::ids::Key;

/// Where the files of an object are, below `objects`.
impl Key {
    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn bucket(&self) -> String {
        format!("{:02x}", self.0[0])
    }

    pub(super) fn metadata_name(&self) -> String {
        self.metadata_name_bytes().map(char::from).iter().collect()
    }

    /// The same without memory for it.
    pub(crate) fn metadata_name_bytes(&self) -> [u8; METADATA_NAME_BYTES] {
        let mut name = [0; METADATA_NAME_BYTES];
        let (front, end) = name.split_at_mut(KEY_NAME_BYTES);
        self.write_name(front);
        end.copy_from_slice(b".meta");
        name
    }

    pub(super) fn unfinished_name(&self) -> String {
        format!("{}/{}.new", self.bucket(), self.hex())
    }

    pub(super) fn data_name(&self, nonce: u64) -> String {
        self.data_name_bytes(nonce).map(char::from).iter().collect()
    }

    /// The same without memory for it.
    pub(crate) fn data_name_bytes(&self, nonce: u64) -> [u8; DATA_NAME_BYTES] {
        let mut name = [0; DATA_NAME_BYTES];
        let (front, end) = name.split_at_mut(KEY_NAME_BYTES);
        self.write_name(front);
        end[0] = b'.';
        write_hex(&nonce.to_be_bytes(), &mut end[1..17]);
        end[17..].copy_from_slice(b".data");
        name
    }

    /// Key and nonce of such a name.
    pub(crate) fn of_data_name(name: &[u8]) -> Option<(Self, u64)> {
        let key = read_hex(name.get(3..KEY_NAME_BYTES)?)?;
        let nonce = read_hex(name.get(KEY_NAME_BYTES + 1..KEY_NAME_BYTES + 17)?)?;
        let (key, nonce) = (Self(key), u64::from_be_bytes(nonce));
        (key.data_name_bytes(nonce) == name).then_some((key, nonce))
    }

    /// Bucket and key, as names begin.
    fn write_name(&self, name: &mut [u8]) {
        write_hex(&self.0[..1], &mut name[..2]);
        name[2] = b'/';
        write_hex(&self.0, &mut name[3..]);
    }
}

/// Bytes of a bucket and a key.
const KEY_NAME_BYTES: usize = 2 + 1 + 32;
/// Bytes of the name of a metadata file.
pub(crate) const METADATA_NAME_BYTES: usize = KEY_NAME_BYTES + 5;
/// Bytes of the name of a data file: a nonce as well.
pub(crate) const DATA_NAME_BYTES: usize = KEY_NAME_BYTES + 1 + 16 + 5;

fn write_hex(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn read_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}
