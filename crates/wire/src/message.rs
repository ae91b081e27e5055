//! What a message is, and the one macro that makes them from tables.
//!
//! A table is Kafka's JSON schema in another notation. `[4+]` is "from version 4", `[8-10]` is "8 to 10"; `nullable 1+`
//! says from which version null may be sent; `tag 0` makes it a tagged field; `default` is what a field has when
//! nothing was said (else 0, false, "" or an empty list, also where null were possible).
//!
//! ```text
//! message! {
//!     Metadata request, versions 0-13, flexible 9+;
//!     /// Asks where topics live.
//!     MetadataRequest {
//!         /// The topics asked for; null is all.
//!         topics: Option<Vec<MetadataRequestTopic>> [0+, nullable 1+],
//!     }
//!     ...
//! }
//! ```
//!
//! `flexible never` is for messages that have no flexible version. An `Option` of a structure is a structure that may be null.
//!
//! A field that a version lacks is not written, and reading leaves its default. (Kafka refuses to write some of these
//! when they differ from the default; the API functions here know what they may say.)

use bytes::Bytes;
use ottla_rules::ids::TopicId;

use crate::{
    api::ApiKey,
    reader::{DecodeError, Reader},
    writer::Writer,
};

/// A request or response with its place in the protocol.
pub trait Message: Encode + Decode {
    /// The API it belongs to.
    const KEY: ApiKey;
    /// Its name in Kafka's schemas.
    const NAME: &'static str;
    /// The lowest version that can be read and written.
    const MIN_VERSION: i16;
    /// The highest version that can be read and written.
    const MAX_VERSION: i16;
    /// From this version on the encoding is flexible (KIP-482).
    const FLEXIBLE_FROM: i16;
}

/// Can be read from bytes.
pub trait Decode: Sized {
    /// Reads the body of a message in `version`. Bytes behind it are left alone.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not such a message or the version is not a supported one.
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError>;
}

/// Can be written as bytes.
pub trait Encode {
    /// Writes the body of a message in `version`, which must be one that the message has.
    fn encode(&self, writer: &mut Writer, version: i16);
}

/// How the value of a field stands in a message of one version.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The version of the message.
    pub version: i16,
    /// Whether that version is flexible: compact lengths and tagged fields.
    pub flexible: bool,
    /// Whether null may stand here.
    pub nullable: bool,
}

/// A type that fields of messages have.
pub trait Field: Sized {
    /// What Kafka's schemas mean without a `default`: zero, or empty, but not null.
    fn blank() -> Self;

    /// Reads a value.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no such value.
    fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, DecodeError>;

    /// Writes a value. Null where null may not stand is written as empty.
    fn write(&self, writer: &mut Writer, shape: Shape);

    /// A value from `dice`, as it survives a round trip.
    #[cfg(test)]
    fn arbitrary(dice: &mut crate::tests::Dice, shape: Shape) -> Self;
}

macro_rules! plain_fields {
    ($($type:ty: $method:ident, $any:expr;)*) => { $(
        impl Field for $type {
            fn blank() -> Self {
                Self::default()
            }

            fn read(reader: &mut Reader<'_>, _: Shape) -> Result<Self, DecodeError> {
                reader.$method()
            }

            fn write(&self, writer: &mut Writer, _: Shape) {
                writer.$method(*self);
            }

            #[cfg(test)]
            fn arbitrary(dice: &mut crate::tests::Dice, _: Shape) -> Self {
                $any(dice.number())
            }
        }
    )* };
}

plain_fields! {
    bool: bool, |n: u64| n & 1 == 1;
    i8: i8, |n: u64| n as i8;
    i16: i16, |n: u64| n as i16;
    i32: i32, |n: u64| n as i32;
    i64: i64, |n: u64| n as i64;
    TopicId: uuid, |n: u64| TopicId((u128::from(n) << 64 | u128::from(n.rotate_left(7))).to_be_bytes());
}

/// Types that may be null: reading and writing them is the nullable case, and the plain type refuses null.
macro_rules! nullable_fields {
    ($([$($generic:ident)?] $type:ty: $empty:expr, $read:expr, $write:expr, $any:expr;)*) => { $(
        impl$(<$generic: Field>)? Field for Option<$type> {
            fn blank() -> Self {
                Some($empty)
            }

            fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, DecodeError> {
                let at = reader.position();
                let value: Option<$type> = $read(reader, shape)?;
                if value.is_none() && !shape.nullable {
                    return Err(DecodeError::Null { at });
                }
                Ok(value)
            }

            fn write(&self, writer: &mut Writer, shape: Shape) {
                match self {
                    None if !shape.nullable => $write(writer, Some(&$empty), shape),
                    value => $write(writer, value.as_ref(), shape),
                }
            }

            #[cfg(test)]
            fn arbitrary(dice: &mut crate::tests::Dice, shape: Shape) -> Self {
                if shape.nullable && dice.one_in(4) { None } else { Some($any(dice, shape)) }
            }
        }

        impl$(<$generic: Field>)? Field for $type {
            fn blank() -> Self {
                $empty
            }

            fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, DecodeError> {
                let at = reader.position();
                $read(reader, shape)?.ok_or(DecodeError::Null { at })
            }

            fn write(&self, writer: &mut Writer, shape: Shape) {
                $write(writer, Some(self), shape);
            }

            #[cfg(test)]
            fn arbitrary(dice: &mut crate::tests::Dice, shape: Shape) -> Self {
                $any(dice, shape)
            }
        }
    )* };
}

nullable_fields! {
    [] String: String::new(),
        |reader: &mut Reader<'_>, shape: Shape| reader.nullable_string(shape.flexible),
        |writer: &mut Writer, value: Option<&String>, shape: Shape| writer.nullable_string(value.map(String::as_str), shape.flexible),
        |dice: &mut crate::tests::Dice, _: Shape| dice.text();
    [] Bytes: Bytes::new(),
        |reader: &mut Reader<'_>, shape: Shape| reader.nullable_bytes(shape.flexible),
        |writer: &mut Writer, value: Option<&Bytes>, shape: Shape| writer.nullable_bytes(value.map(|bytes| &bytes[..]), shape.flexible),
        |dice: &mut crate::tests::Dice, _: Shape| Bytes::from(dice.text());
    [T] Vec<T>: Vec::<T>::new(), read_array, write_array,
        |dice: &mut crate::tests::Dice, shape: Shape| dice.list(|dice| T::arbitrary(dice, Shape { nullable: false, ..shape }));
}

fn read_array<T: Field>(reader: &mut Reader<'_>, shape: Shape) -> Result<Option<Vec<T>>, DecodeError> {
    let Some(count) = reader.count(shape.flexible, size_of::<T>())? else { return Ok(None) };
    let mut array = Vec::with_capacity(count);
    for _ in 0..count {
        array.push(T::read(reader, Shape { nullable: false, ..shape })?);
    }
    Ok(Some(array))
}

fn write_array<T: Field>(writer: &mut Writer, array: Option<&Vec<T>>, shape: Shape) {
    writer.length(array.map(Vec::len), shape.flexible);
    for element in array.into_iter().flatten() {
        element.write(writer, Shape { nullable: false, ..shape });
    }
}

/// Makes the types of one message: the first structure is the message, the others stand in its fields.
macro_rules! message {
    (
        $key:ident $(request)? $(response)?, versions $min:literal - $max:literal, flexible $flexible:tt $(+)?;
        $(#[$message_doc:meta])*
        $message:ident { $($message_body:tt)* }
        $( $(#[$part_doc:meta])* $part:ident { $($part_body:tt)* } )*
    ) => {
        $crate::message::message! { @part $(#[$message_doc])* $message { $($message_body)* } }
        $( $crate::message::message! { @part $(#[$part_doc])* $part { $($part_body)* } } )*

        impl $crate::Message for $message {
            const KEY: $crate::api::ApiKey = $crate::api::ApiKey::$key;
            const NAME: &'static str = stringify!($message);
            const MIN_VERSION: i16 = $min;
            const MAX_VERSION: i16 = $max;
            const FLEXIBLE_FROM: i16 = $crate::message::message!(@flexible $flexible);
        }

        impl $crate::Decode for $message {
            fn decode(reader: &mut $crate::Reader<'_>, version: i16) -> Result<Self, $crate::DecodeError> {
                if !($min..=$max).contains(&version) {
                    let name = stringify!($message);
                    return Err($crate::DecodeError::Version { name, version, min: $min, max: $max });
                }
                let shape = $crate::Shape { version, flexible: version >= <Self as $crate::Message>::FLEXIBLE_FROM, nullable: false };
                <Self as $crate::Field>::read(reader, shape)
            }
        }

        impl $crate::Encode for $message {
            fn encode(&self, writer: &mut $crate::Writer, version: i16) {
                debug_assert!(($min..=$max).contains(&version), "{} has no version {version}", stringify!($message));
                let shape = $crate::Shape { version, flexible: version >= <Self as $crate::Message>::FLEXIBLE_FROM, nullable: false };
                $crate::Field::write(self, writer, shape);
            }
        }
    };

    (
        @part $(#[$doc:meta])* $name:ident { $(
            $(#[$field_doc:meta])*
            $field:ident: $type:ty [
                $from:literal $(+)? $(- $to:literal)? $(, nullable $nullable:literal +)? $(, tag $tag:literal)? $(, default $default:expr)?
            ]
        ),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $(
            $(#[$field_doc])*
            pub $field: $type,
        )* }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::message::message!(@default $type $(, $default)?), )* }
            }
        }

        impl $crate::Field for $name {
            fn blank() -> Self {
                Self::default()
            }

            fn read(reader: &mut $crate::Reader<'_>, shape: $crate::Shape) -> Result<Self, $crate::DecodeError> {
                let mut value = Self::default();
                $(
                    let spec = $crate::message::message!(@spec $from [$($to)?] [$($nullable)?] [$($tag)?]);
                    if spec.is_plain_in(shape) {
                        value.$field = $crate::Field::read(reader, spec.shape(shape))?;
                    }
                )*
                if shape.flexible {
                    reader.tagged_fields(|tag, reader| {
                        $(
                            let spec = $crate::message::message!(@spec $from [$($to)?] [$($nullable)?] [$($tag)?]);
                            if spec.tag == Some(tag) && spec.is_in(shape) {
                                value.$field = $crate::Field::read(reader, spec.shape(shape))?;
                            }
                        )*
                        let _ = (tag, reader);
                        Ok(())
                    })?;
                }
                Ok(value)
            }

            fn write(&self, writer: &mut $crate::Writer, shape: $crate::Shape) {
                $(
                    let spec = $crate::message::message!(@spec $from [$($to)?] [$($nullable)?] [$($tag)?]);
                    if spec.is_plain_in(shape) {
                        $crate::Field::write(&self.$field, writer, spec.shape(shape));
                    }
                )*
                if !shape.flexible {
                    return;
                }
                let told = [$( $crate::message::message!(@spec $from [$($to)?] [$($nullable)?] [$($tag)?])
                    .tells(shape, &self.$field, || $crate::message::message!(@default $type $(, $default)?)) ),*];
                writer.unsigned_varint(told.iter().filter(|told| **told).count() as u32);
                let mut told = told.into_iter();
                $(
                    if let (Some(true), Some(tag)) = (told.next(), $crate::message::message!(@spec $from [$($to)?] [$($nullable)?] [$($tag)?]).tag) {
                        writer.tagged_field(tag, |writer| {
                            $crate::Field::write(&self.$field, writer, $crate::message::message!(@spec $from [$($to)?] [$($nullable)?] [$($tag)?]).shape(shape));
                        });
                    }
                )*
            }

            #[cfg(test)]
            fn arbitrary(dice: &mut $crate::tests::Dice, shape: $crate::Shape) -> Self {
                let mut value = Self::default();
                $(
                    let spec = $crate::message::message!(@spec $from [$($to)?] [$($nullable)?] [$($tag)?]);
                    if spec.is_in(shape) && !dice.one_in(8) {
                        value.$field = $crate::Field::arbitrary(dice, spec.shape(shape));
                    }
                )*
                value
            }
        }

        /// A structure that may be null has a byte before it: -1 for null.
        impl $crate::Field for Option<$name> {
            fn blank() -> Self {
                Some($name::default())
            }

            fn read(reader: &mut $crate::Reader<'_>, shape: $crate::Shape) -> Result<Self, $crate::DecodeError> {
                let at = reader.position();
                if reader.i8()? < 0 {
                    return if shape.nullable { Ok(None) } else { Err($crate::DecodeError::Null { at }) };
                }
                <$name as $crate::Field>::read(reader, $crate::Shape { nullable: false, ..shape }).map(Some)
            }

            fn write(&self, writer: &mut $crate::Writer, shape: $crate::Shape) {
                writer.i8(if self.is_some() { 1 } else { -1 });
                if let Some(value) = self {
                    $crate::Field::write(value, writer, $crate::Shape { nullable: false, ..shape });
                }
            }

            #[cfg(test)]
            fn arbitrary(dice: &mut $crate::tests::Dice, shape: $crate::Shape) -> Self {
                let value = $crate::Field::arbitrary(dice, $crate::Shape { nullable: false, ..shape });
                if shape.nullable && dice.one_in(4) { None } else { Some(value) }
            }
        }
    };

    (@flexible never) => { $crate::api::NEVER };
    (@flexible $from:literal) => { $from };
    (@default $type:ty) => { <$type as $crate::Field>::blank() };
    (@default $type:ty, $default:expr) => { $default };
    (@spec $from:literal [$($to:literal)?] [$($nullable:literal)?] [$($tag:literal)?]) => {
        const { $crate::message::Spec::new($from, &[$($to)?], &[$($nullable)?], &[$($tag)?]) }
    };
}
pub(crate) use message;

/// What stands in brackets behind a field.
#[derive(Clone, Copy)]
pub(crate) struct Spec {
    from: i16,
    to: i16,
    nullable_from: i16,
    pub(crate) tag: Option<u32>,
}

impl Spec {
    /// Each slice is empty or has what the table says.
    pub(crate) const fn new(from: i16, to: &[i16], nullable_from: &[i16], tag: &[u32]) -> Self {
        Self {
            from,
            to: if to.is_empty() { i16::MAX } else { to[0] },
            nullable_from: if nullable_from.is_empty() { i16::MAX } else { nullable_from[0] },
            tag: if tag.is_empty() { None } else { Some(tag[0]) },
        }
    }

    /// Whether the version has the field.
    pub(crate) fn is_in(self, shape: Shape) -> bool {
        (self.from..=self.to).contains(&shape.version)
    }

    /// Whether the version has it, at its place among the others.
    pub(crate) fn is_plain_in(self, shape: Shape) -> bool {
        self.tag.is_none() && self.is_in(shape)
    }

    /// Whether it is a tagged field with something to say: one that still has its default is left out.
    pub(crate) fn tells<T: PartialEq>(self, shape: Shape, value: &T, default: impl FnOnce() -> T) -> bool {
        self.tag.is_some() && self.is_in(shape) && *value != default()
    }

    /// How the field stands in a structure of that shape.
    pub(crate) fn shape(self, shape: Shape) -> Shape {
        Shape { nullable: shape.version >= self.nullable_from, ..shape }
    }
}
