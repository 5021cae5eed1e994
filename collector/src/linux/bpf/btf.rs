//! Where the running kernel keeps a field of one of its structures, from its BTF (`/sys/kernel/btf/vmlinux`).
//!
//! Only what that takes: structures, unions and the names of their members. Format: include/uapi/linux/btf.h.
//! Untrusted like any file: whatever its bytes, the answer is an offset or none.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// Modifiers that stand between a member and its structure: typedef, volatile, const, restrict.
const MODIFIERS: std::ops::RangeInclusive<u32> = 8..=11;
/// Anonymous structures nest at most so deep before we give up.
const NESTING_MAX: u32 = 16;

/// A kernel's types.
pub(super) struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
    structs: HashMap<&'a [u8], u32>,
}

#[derive(Clone, Copy)]
struct Type<'a> {
    kind: u32,
    bit_fields: bool,
    /// Size in bytes, or the type that this one is made of.
    size_or_type: u32,
    members: &'a [u8],
}

impl<'a> Btf<'a> {
    /// Reads all type heads; `None` if the bytes are no BTF.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let magic = u16::from_le_bytes(*bytes.first_chunk()?);
        let header_bytes = word(4)? as usize;
        if magic != MAGIC || header_bytes < HEADER_BYTES {
            return None;
        }
        let section = |at: usize| {
            let start = header_bytes.checked_add(word(at)? as usize)?;
            bytes.get(start..start.checked_add(word(at + 4)? as usize)?)
        };
        let strings = section(16)?;
        // Numbers of types begin at 1; 0 is void.
        let mut types = vec![Type {
            kind: 0,
            bit_fields: false,
            size_or_type: 0,
            members: &[],
        }];
        let mut structs = HashMap::new();
        let mut rest = section(8)?;
        while let Some((head, behind)) = rest.split_first_chunk::<12>() {
            let field = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (name, info) = (field(0), field(4));
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let (members, after) = behind.split_at_checked(trailing_bytes(kind, count)?)?;
            if kind == STRUCT {
                structs
                    .entry(name_at(strings, name)?)
                    .or_insert(types.len() as u32);
            }
            types.push(Type {
                kind,
                bit_fields: info >> 31 == 1,
                size_or_type: field(8),
                members: if matches!(kind, STRUCT | UNION) {
                    members
                } else {
                    &[]
                },
            });
            rest = after;
        }
        Some(Self {
            types,
            strings,
            structs,
        })
    }

    /// Offset in bytes of a member, given as `structure.member` or `structure.member.member`.
    pub(super) fn offset(&self, path: &str) -> Option<u32> {
        let mut names = path.split('.');
        let mut of = *self.structs.get(names.next()?.as_bytes())?;
        let mut offset = 0;
        for name in names {
            let (at, member) = self.member(of, name.as_bytes(), 0)?;
            offset += at;
            of = member;
        }
        Some(offset)
    }

    /// Size of a structure in bytes.
    pub(super) fn size(&self, structure: &str) -> Option<u32> {
        let at = *self.structs.get(structure.as_bytes())?;
        Some(self.types.get(at as usize)?.size_or_type)
    }

    /// Offset and type of a member, looked for in anonymous members as well.
    fn member(&self, of: u32, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let of = self.types.get(self.plain(of)? as usize)?;
        if depth > NESTING_MAX {
            return None;
        }
        let (members, _) = of.members.as_chunks::<12>();
        members.iter().find_map(|member| {
            let field =
                |at: usize| u32::from_le_bytes([member[at], member[at + 1], member[at + 2], member[at + 3]]);
            let bits = if of.bit_fields {
                field(8) & 0xff_ffff
            } else {
                field(8)
            };
            match field(0) {
                0 => {
                    let (inner, member) = self.member(field(4), name, depth + 1)?;
                    Some((bits / 8 + inner, member))
                }
                own => (name_at(self.strings, own)? == name).then_some((bits / 8, field(4))),
            }
        })
    }

    /// The type without its modifiers.
    fn plain(&self, mut number: u32) -> Option<u32> {
        for _ in 0..NESTING_MAX {
            let found = self.types.get(number as usize)?;
            if !MODIFIERS.contains(&found.kind) {
                return Some(number);
            }
            number = found.size_or_type;
        }
        None
    }
}

/// Bytes behind the head of a type; `None` for a kind that nobody knows, behind which nothing can be read.
fn trailing_bytes(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // int, variable, declaration tag
        1 | 14 | 17 => 4,
        // pointer, forward, modifiers, function, float, type tag
        2 | 7..=12 | 16 | 18 => 0,
        // array
        3 => 12,
        // structure, union, section, 64-bit enumeration
        4 | 5 | 15 | 19 => 12 * count,
        // enumeration, prototype
        6 | 13 => 8 * count,
        _ => return None,
    })
}

fn name_at(strings: &[u8], at: u32) -> Option<&[u8]> {
    let rest = strings.get(at as usize..)?;
    rest.get(..rest.iter().position(|byte| *byte == 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Structure `s` with `a` at 0, and at 8 an anonymous union with `b` at 4 bits 32.
    fn sample() -> Vec<u8> {
        let strings = b"\0s\0a\0b\0";
        let mut types = Vec::new();
        let mut words = |list: &[u32]| list.iter().for_each(|word| types.extend(word.to_le_bytes()));
        words(&[1, STRUCT << 24 | 2, 16, 3, 0, 0, 0, 2, 64]);
        words(&[0, UNION << 24 | 1, 8, 5, 0, 32]);
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([1, 0]);
        let lengths = [HEADER_BYTES, 0, types.len(), types.len(), strings.len()];
        lengths
            .iter()
            .for_each(|length| bytes.extend((*length as u32).to_le_bytes()));
        bytes.extend(&types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_also_in_anonymous_ones() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        let cases = [
            ("s.a", Some(0)),
            ("s.b", Some(12)),
            ("s.c", None),
            ("t.a", None),
            ("s", Some(0)),
        ];
        for (path, expected) in cases {
            assert_eq!(btf.offset(path), expected, "{path}");
        }
        assert_eq!((btf.size("s"), btf.size("t")), (Some(16), None));
    }

    #[test]
    fn any_bytes_give_an_answer() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            let btf = Btf::parse(&bytes[..cut]);
            assert!(
                btf.is_none_or(|btf| btf.offset("s.b").is_none_or(|at| at == 12)),
                "{cut}"
            );
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = Btf::parse(&damaged).map(|btf| (btf.offset("s.b"), btf.size("s")));
            }
        }
    }
}
