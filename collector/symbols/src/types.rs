//! Names of Go types by the address of their descriptor, as the allocator is told it.
//!
//! `internal/abi.Type`, the same in Go 1.19 to 1.27: `TFlag` at 20, `Str` at 40, which is the offset of a name
//! from `moduledata.types`. A name (`internal/abi.Name`): a flag byte, the length as a varint, the bytes.
//! The linker keeps types in parts of the file that are not written at run time, so the file is enough.
//!
//! Left out: types that a program makes while it runs (`reflect.StructOf`), which lie on its heap.

use std::borrow::Cow;

use crate::binary::GoBinary;
use crate::bytes::{i32_at, slice, u8_at, uvarint32};

const T_FLAG: u64 = 20;
const STR: u64 = 40;
/// `internal/abi.TFlagExtraStar`: the name in the file has a `*` too many.
const EXTRA_STAR: u8 = 2;
/// Types written out can be as long as a program likes; what is behind this is cut off.
const MAX_NAME_BYTES: u64 = 200;

impl<B: AsRef<[u8]>> GoBinary<B> {
    /// Name of the type whose descriptor is at `vaddr`, as `reflect.Type.String` has it: `main.node`,
    /// `[]string`. `None` where no type of this binary is.
    pub fn type_name(&self, vaddr: u64) -> Option<Cow<'_, str>> {
        let (elf, module) = self.types_of()?;
        let types = module.types?;
        // Descriptors and names lie side by side, and in nothing that the program writes.
        let descriptor = elf.bytes_from(self.bytes(), vaddr)?;
        if vaddr < types.start || vaddr >= types.end {
            return None;
        }
        let flags = u8_at(descriptor, T_FLAG)?;
        let offset = u64::try_from(i32_at(descriptor, STR)?).ok()?;
        let at = types.start.checked_add(offset)?;
        if at >= types.end {
            return None;
        }
        let mut name = elf.bytes_from(self.bytes(), at)?.get(1..)?;
        let length = u64::from(uvarint32(&mut name)?);
        let bytes = slice(name, 0, length.min(MAX_NAME_BYTES))?;
        let text = String::from_utf8_lossy(bytes);
        let text = match text {
            Cow::Borrowed(text) if flags & EXTRA_STAR != 0 => {
                Cow::Borrowed(text.strip_prefix('*').unwrap_or(text))
            }
            other => other,
        };
        if length > MAX_NAME_BYTES {
            return Some(Cow::Owned(format!("{text}…")));
        }
        (!text.is_empty()).then_some(text)
    }
}
