//! Reads Thrift's compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>), as far as it is
//! needed to check what a file claims before the crate `parquet` reads it.
//!
//! The crate reads a field that it knows as the type that it expects, whatever type the file says, and
//! takes the last of several fields with one number. So a check must compare the type of every field, and
//! numbers must rise: otherwise the crate would find other values in the same bytes.

/// The types of values that are let through.
pub(super) const TRUE: u8 = 1;
pub(super) const FALSE: u8 = 2;
pub(super) const I16: u8 = 4;
pub(super) const I32: u8 = 5;
pub(super) const I64: u8 = 6;
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// The most elements of a list.
const MAX_ELEMENTS: u64 = 1 << 16;

/// What a value may be made of.
pub(super) enum Shape {
    Boolean,
    /// A value of this type without parts: an integer, text or bytes.
    Plain(u8),
    /// An I32 from 0 to this one.
    UpTo(i64),
    /// A list of such elements.
    List(&'static Shape),
    /// A list whose first element has the one shape, and the others have the other.
    Headed(&'static Shape, &'static Shape),
    /// A structure with some of these fields. Their numbers rise.
    Struct(&'static [(u8, Shape)]),
}

/// Bytes to read. Every function returns `None` if they are something else.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves some bytes out.
    pub(super) fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    /// The head of the next field: how far its number is above that of the one before, and its type.
    /// `Some(None)` at the end of the structure. A number in the long form is refused: it may go back.
    pub(super) fn field(&mut self) -> Option<Option<(u8, u8)>> {
        match self.byte()? {
            0 => Some(None),
            head if head >> 4 == 0 => None,
            head => Some(Some((head >> 4, head & 15))),
        }
    }

    /// An integer of any size.
    pub(super) fn integer(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        let half = i64::try_from(zigzag >> 1).ok()?;
        Some(if zigzag & 1 == 0 { half } else { -half - 1 })
    }

    /// Reads a value of this type, which must have this shape.
    pub(super) fn value(&mut self, kind: u8, shape: &Shape) -> Option<()> {
        match shape {
            Shape::Boolean => matches!(kind, TRUE | FALSE).then_some(()),
            Shape::Plain(expected) if kind == *expected => match kind {
                BINARY => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    self.skip(length)
                }
                _ => self.varint().map(drop),
            },
            Shape::UpTo(most) if kind == I32 => {
                (0..=*most).contains(&self.integer()?).then_some(())
            }
            Shape::List(element) if kind == LIST => self.list(element, element),
            Shape::Headed(first, others) if kind == LIST => self.list(first, others),
            Shape::Struct(fields) if kind == STRUCT => self.fields(0, fields),
            _ => None,
        }
    }

    /// Reads the fields of a structure after the one with the number `after`, to its end.
    pub(super) fn fields(&mut self, after: u8, fields: &[(u8, Shape)]) -> Option<()> {
        let mut number = after;
        while let Some((step, kind)) = self.field()? {
            number = number.checked_add(step)?;
            let (_, shape) = fields.iter().find(|(one, _)| *one == number)?;
            self.value(kind, shape)?;
        }
        Some(())
    }

    fn list(&mut self, first: &Shape, others: &Shape) -> Option<()> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        if count > MAX_ELEMENTS {
            return None;
        }
        (0..count).try_for_each(|at| self.value(head & 15, if at == 0 { first } else { others }))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for at in 0..10 {
            let next = self.byte()?;
            value |= u64::from(next & 0x7f) << (7 * at);
            if next & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: Shape = Shape::Plain(I32);
    const SHAPE: Shape = Shape::Struct(&[
        (1, NUMBER),
        (2, Shape::Plain(BINARY)),
        (4, Shape::Boolean),
        (5, Shape::Headed(&Shape::Struct(&[(1, Shape::UpTo(3))]), &Shape::Struct(&[]))),
        (6, Shape::List(&NUMBER)),
    ]);

    #[track_caller]
    fn check(bytes: &[u8], expected: bool) {
        let mut input = Input::new(bytes);
        let is_right = input.value(STRUCT, &SHAPE).is_some() && input.is_empty();
        assert_eq!(is_right, expected, "{bytes:?}");
    }

    #[test]
    fn a_value_of_the_shape_is_let_through() {
        check(&[0], true);
        check(
            &[0x15, 2, 0x18, 2, b'a', b'b', 0x21, 0x19, 0x2c, 0x15, 6, 0, 0, 0x19, 0x15, 1, 0],
            true,
        );
        check(&[0x42, 0x29, 0x05, 0], true);
        // A list with its length in a number of its own.
        check(&[0x69, 0xf5, 2, 8, 8, 0], true);
    }

    #[test]
    fn any_other_value_is_refused() {
        // Another type, a field that is not known, one in the long form, and one twice.
        check(&[0x18, 1, b'a', 0], false);
        check(&[0x35, 2, 0], false);
        check(&[0x05, 2, 2, 0], false);
        check(&[0x15, 2, 0x05, 2, 2, 0], false);
        // Too large, too many, cut off.
        check(&[0x59, 0x1c, 0x15, 8, 0, 0], false);
        check(&[0x59, 0x1c, 0x15, 1, 0, 0], false);
        check(&[0x59, 0x2c, 0, 0x15, 2, 0, 0], false);
        check(&[0x28, 9, b'a', 0], false);
        check(&[0x69, 0xf5, 0xff, 0xff, 0xff, 0xff, 7, 0], false);
        check(&[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], false);
        check(&[0x15], false);
        // Booleans in a list take no bytes for some readers.
        check(&[0x69, 0xf1, 0xff, 0xff, 3, 0], false);
    }
}
