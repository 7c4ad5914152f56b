//! Header fields: a typed struct for each request, filled in one pass over the frame's fields,
//! without a map.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::frame::{Form, Frame};
use crate::json::scan::Raw;

/// Why a header's fields cannot be read. Answered with code 1 (`SYSTEM_ERROR`), as Java does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("the header fields are broken")]
    Broken,
    #[error("the custom field <{0}> is null")]
    Missing(&'static str),
    #[error("the custom field <{0}> is not a {1}")]
    Type(&'static str, &'static str),
}

/// Something that can write itself as header fields.
pub trait Fields {
    fn write(&self, w: &mut FieldWriter<'_>);
}

impl Fields for () {
    fn write(&self, _: &mut FieldWriter<'_>) {}
}

/// Writes fields into a header.
pub struct FieldWriter<'a> {
    out: &'a mut BytesMut,
    form: Form,
    first: bool,
}

impl<'a> FieldWriter<'a> {
    pub(super) fn new(out: &'a mut BytesMut, form: Form) -> Self {
        FieldWriter { out, form, first: true }
    }

    /// Writes one field.
    pub fn text(&mut self, key: &str, value: &str) {
        match self.form {
            Form::Json => {
                if !std::mem::take(&mut self.first) {
                    self.out.put_u8(b',');
                }
                json_string(self.out, key);
                self.out.put_u8(b':');
                json_string(self.out, value);
            }
            Form::Binary => {
                self.out.put_u16(key.len() as u16);
                self.out.put_slice(key.as_bytes());
                self.out.put_u32(value.len() as u32);
                self.out.put_slice(value.as_bytes());
            }
        }
    }

    /// Writes one whole number.
    pub fn number(&mut self, key: &str, value: impl itoa::Integer) {
        self.text(key, itoa::Buffer::new().format(value));
    }
}

/// Writes `text` as a JSON string.
pub(super) fn json_string(out: &mut BytesMut, text: &str) {
    // Without an early end, so that many bytes are looked at together.
    let is_special = |b: u8| (b < 0x20) | (b == b'"') | (b == b'\\');
    if !text.bytes().fold(false, |found, b| found | is_special(b)) {
        out.put_u8(b'"');
        out.put_slice(text.as_bytes());
        out.put_u8(b'"');
    } else {
        let mut quoted = Vec::with_capacity(text.len() + 8);
        crate::json::dialect::quoted(text, &mut quoted);
        out.put_slice(&quoted);
    }
}

/// A type that a header field can have.
pub trait FieldValue: Sized {
    fn read(key: &'static str, raw: Raw<'_>, frame: &Bytes) -> Result<Self, FieldError>;
    fn write(&self, key: &str, w: &mut FieldWriter<'_>);
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl FieldValue for $t {
            fn read(key: &'static str, raw: Raw<'_>, _: &Bytes) -> Result<Self, FieldError> {
                let number = raw.integer().ok().and_then(|number| number.try_into().ok());
                number.ok_or(FieldError::Type(key, "whole number in range"))
            }
            fn write(&self, key: &str, w: &mut FieldWriter<'_>) {
                w.number(key, *self);
            }
        }
    )*};
}
number!(i32, i64);

impl FieldValue for bool {
    fn read(_: &'static str, raw: Raw<'_>, _: &Bytes) -> Result<Self, FieldError> {
        let text = raw.bytes().unwrap_or_default();
        // The C++ client writes 1, which Apache's broker takes for false: its batches arrive there
        // as one message.
        Ok(text.eq_ignore_ascii_case(b"true") || *text == *b"1")
    }
    fn write(&self, key: &str, w: &mut FieldWriter<'_>) {
        w.text(key, if *self { "true" } else { "false" });
    }
}

/// Text shares the frame's memory, unless an escape made it a copy.
impl FieldValue for ByteString {
    fn read(key: &'static str, raw: Raw<'_>, frame: &Bytes) -> Result<Self, FieldError> {
        let text = match raw.as_plain() {
            Some(text) => ByteString::try_from(frame.slice_ref(text)).ok(),
            None => raw.text().ok().map(|text| text.into_owned().into()),
        };
        text.ok_or(FieldError::Type(key, "UTF-8 text"))
    }
    fn write(&self, key: &str, w: &mut FieldWriter<'_>) {
        w.text(key, self);
    }
}

impl<T: FieldValue> FieldValue for Option<T> {
    fn read(key: &'static str, raw: Raw<'_>, frame: &Bytes) -> Result<Self, FieldError> {
        T::read(key, raw, frame).map(Some)
    }
    fn write(&self, key: &str, w: &mut FieldWriter<'_>) {
        if let Some(value) = self {
            value.write(key, w);
        }
    }
}

/// A header that can be read from a frame.
pub trait Header: Sized + Fields {
    fn read(frame: &Frame<'_>) -> Result<Self, FieldError>;
}

/// Declares a header: for each field its type and its key on the wire. Further keys after `|` are
/// read too. A field marked `required` must be there, the others default.
macro_rules! header {
    (
        $(#[$meta:meta])*
        $name:ident {
            $( $(#[$field_meta:meta])*
               $field:ident : $type:ty = $key:literal $(| $alias:literal)* $($required:ident)? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $type ),* }

        impl $crate::remoting::fields::Header for $name {
            fn read(
                frame: &$crate::remoting::frame::Frame<'_>,
            ) -> Result<Self, $crate::remoting::fields::FieldError> {
                use $crate::remoting::fields::FieldValue;
                $( let mut $field: Option<$type> = None; )*
                let bytes = frame.bytes();
                frame.for_each_raw(|key, value| {
                    let key = key.bytes().map_err(|_| $crate::remoting::fields::FieldError::Broken)?;
                    $( if *key == *$key.as_bytes() $(|| *key == *$alias.as_bytes())* {
                        $field = Some(<$type as FieldValue>::read($key, value, bytes)?);
                        return Ok(());
                    } )*
                    Ok(())
                })?;
                Ok($name { $( $field: header!(@take $field, $key $(, $required)?) ),* })
            }
        }

        impl $crate::remoting::fields::Fields for $name {
            fn write(&self, w: &mut $crate::remoting::fields::FieldWriter<'_>) {
                $( $crate::remoting::fields::FieldValue::write(&self.$field, $key, w); )*
                let _ = w;
            }
        }
    };
    (@take $field:ident, $key:literal) => { $field.unwrap_or_default() };
    (@take $field:ident, $key:literal, required) => {
        $field.ok_or($crate::remoting::fields::FieldError::Missing($key))?
    };
}
pub(super) use header;
