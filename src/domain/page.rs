//! Pages of a list, and the cursors between them.
//!
//! Cursors are keyset cursors: the sort key and the id of one row, so that a page starts right behind that row
//! whatever was inserted meanwhile. The id makes ties unambiguous. A cursor carries a digest of the sort and
//! filter that made it, and is refused for any other list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::{Error, Result};

/// The most rows that one page can have.
pub const MAX_PAGE: i32 = 100;
/// The rows of a page when the client does not say.
pub const DEFAULT_PAGE: i32 = 20;
/// The most rows that numbered pages can skip.
pub const MAX_OFFSET: i32 = 1_000_000;

/// What a client asks of a list, as in the GraphQL Cursor Connections Specification, plus an offset.
#[derive(Clone, Debug, Default)]
pub struct PageArgs {
    /// So many rows, from the front.
    pub first: Option<i32>,
    /// Behind this cursor.
    pub after: Option<String>,
    /// So many rows, from the back.
    pub last: Option<i32>,
    /// Before this cursor.
    pub before: Option<String>,
    /// Rows to skip, for numbered pages.
    pub offset: Option<i32>,
}

/// A checked request for one page.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The most rows to return.
    pub limit: i64,
    /// Rows to skip first.
    pub offset: i64,
    /// Whether the page is read from the back of the list.
    pub backward: bool,
    /// The row that the page borders on.
    pub bound: Option<Position>,
}

/// Where a row stands in a sorted list.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// The value that the list is sorted by.
    pub key: SortKey,
    /// The row's id, which decides between equal keys.
    pub id: Uuid,
}

/// A value that lists are sorted by.
#[derive(Clone, Debug, PartialEq)]
pub enum SortKey {
    /// By number.
    Int(i64),
    /// By moment, to the microsecond.
    Time(DateTime<Utc>),
    /// By text.
    Text(String),
    /// By an id of version 7, which is by time of creation.
    Id(Uuid),
}

/// The kind of value that a list is sorted by. A cursor that was tampered with may hold another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// By number.
    Int,
    /// By moment.
    Time,
    /// By text.
    Text,
    /// By id.
    Id,
}

impl SortKey {
    /// What kind of value this is.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        match self {
            Self::Int(_) => KeyKind::Int,
            Self::Time(_) => KeyKind::Time,
            Self::Text(_) => KeyKind::Text,
            Self::Id(_) => KeyKind::Id,
        }
    }
}

/// A digest of a list's sort and filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId([u8; 8]);

impl ListId {
    /// Digests whatever tells one list from another, written in a fixed way (`Debug` of sort and filter).
    #[must_use]
    pub fn of(list: &impl std::fmt::Debug) -> Self {
        let hash = Sha256::digest(format!("{list:?}"));
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self(id)
    }

    /// The cursor of a row in this list: opaque to clients.
    #[must_use]
    pub fn cursor(self, position: &Position) -> String {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(position.id.as_bytes());
        match &position.key {
            SortKey::Int(n) => {
                bytes.push(b'i');
                bytes.extend_from_slice(&n.to_be_bytes());
            }
            SortKey::Time(t) => {
                bytes.push(b't');
                bytes.extend_from_slice(&t.timestamp_micros().to_be_bytes());
            }
            SortKey::Text(text) => {
                bytes.push(b's');
                bytes.extend_from_slice(text.as_bytes());
            }
            SortKey::Id(id) => {
                bytes.push(b'u');
                bytes.extend_from_slice(id.as_bytes());
            }
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn position(self, cursor: &str) -> Option<Position> {
        // A cursor is never longer than a key of 200 characters makes it.
        let bytes = (cursor.len() <= 2048).then(|| URL_SAFE_NO_PAD.decode(cursor).ok())??;
        let rest = bytes.strip_prefix(&self.0)?;
        let (id, rest) = rest.split_at_checked(16)?;
        let (kind, key) = rest.split_first()?;
        let number = || key.try_into().ok().map(i64::from_be_bytes);
        let key = match kind {
            b'i' => SortKey::Int(number()?),
            // Years that PostgreSQL knows as well.
            b't' => {
                SortKey::Time(DateTime::from_timestamp_micros(number()?).filter(|t| (0..=9999).contains(&t.year()))?)
            }
            b's' => SortKey::Text(String::from_utf8(key.to_vec()).ok().filter(|s| !s.contains('\0'))?),
            b'u' => SortKey::Id(Uuid::from_slice(key).ok()?),
            _ => return None,
        };
        let id = Uuid::from_slice(id).ok()?;
        Some(Position { key, id })
    }
}

impl PageArgs {
    /// Checks the arguments against each other and reads the cursor.
    pub fn window(&self, list: ListId) -> Result<Window> {
        let backward = self.last.is_some() || (self.first.is_none() && self.before.is_some());
        let (size_name, size, cursor_name, cursor, stray) = if backward {
            ("last", self.last, "before", &self.before, self.after.as_ref().map(|_| "after"))
        } else {
            ("first", self.first, "after", &self.after, self.before.as_ref().map(|_| "before"))
        };
        if self.first.is_some() && self.last.is_some() {
            return Err(Error::field("last", "give either first or last, not both"));
        }
        if let Some(stray) = stray {
            let message = format!("{stray} does not go with {size_name}; use {cursor_name}");
            return Err(Error::field(stray, message));
        }
        let limit = size.unwrap_or(DEFAULT_PAGE);
        if !(0..=MAX_PAGE).contains(&limit) {
            return Err(Error::field(size_name, format!("must be from 0 to {MAX_PAGE}")));
        }
        let offset = self.offset.unwrap_or(0);
        if !(0..=MAX_OFFSET).contains(&offset) {
            return Err(Error::field("offset", format!("must be from 0 to {MAX_OFFSET}")));
        }
        if offset > 0 && (cursor.is_some() || backward) {
            return Err(Error::field("offset", "goes with first only, without a cursor"));
        }
        let bound = cursor
            .as_ref()
            .map(|cursor| list.position(cursor).ok_or_else(|| Error::field(cursor_name, NOT_OF_THIS_LIST)))
            .transpose()?;
        Ok(Window { limit: i64::from(limit), offset: i64::from(offset), backward, bound })
    }
}

const NOT_OF_THIS_LIST: &str = "is not a cursor of this list with this sort and filter";

impl Window {
    /// Refuses a cursor whose key is of another kind than the list's.
    pub fn check_key(&self, kind: KeyKind) -> Result<()> {
        match &self.bound {
            Some(bound) if bound.key.kind() != kind => {
                Err(Error::field(if self.backward { "before" } else { "after" }, NOT_OF_THIS_LIST))
            }
            _ => Ok(()),
        }
    }
}

/// One page of a list, in the list's order whichever end it was read from.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows with their cursors.
    pub rows: Vec<(String, T)>,
    /// Whether rows follow.
    pub has_next: bool,
    /// Whether rows come before.
    pub has_previous: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = SortKey> {
        prop_oneof![
            any::<i64>().prop_map(SortKey::Int),
            (0_i64..8_000_000_000_000_000)
                .prop_map(|t| SortKey::Time(DateTime::from_timestamp_micros(t).unwrap_or_default())),
            "[^\\x00]{0,200}".prop_map(SortKey::Text),
            any::<u128>().prop_map(|n| SortKey::Id(Uuid::from_u128(n))),
        ]
    }

    proptest! {
        #[test]
        fn cursors_round_trip(key in key(), id in any::<u128>()) {
            let list = ListId::of(&"products by name");
            let position = Position { key, id: Uuid::from_u128(id) };
            prop_assert_eq!(list.position(&list.cursor(&position)), Some(position.clone()));
            prop_assert_eq!(ListId::of(&"products by price").position(&list.cursor(&position)), None);
        }

        #[test]
        fn garbage_is_refused_without_panic(cursor in "\\PC{0,80}", first in any::<Option<i32>>(),
            last in any::<Option<i32>>(), offset in any::<Option<i32>>()) {
            let args = PageArgs { first, last, offset, after: Some(cursor), before: None };
            prop_assert!(args.window(ListId([0; 8])).is_err());
        }
    }

    #[test]
    fn arguments_must_fit_together() {
        let list = ListId([0; 8]);
        let window = |args: PageArgs| args.window(list);
        assert_eq!(window(PageArgs::default()).map(|w| w.limit).ok(), Some(20));
        for args in [
            PageArgs { first: Some(1), last: Some(1), ..PageArgs::default() },
            PageArgs { first: Some(101), ..PageArgs::default() },
            PageArgs { first: Some(-1), ..PageArgs::default() },
            PageArgs { last: Some(5), offset: Some(1), ..PageArgs::default() },
            PageArgs { first: Some(5), before: Some("x".into()), ..PageArgs::default() },
            PageArgs { offset: Some(-1), ..PageArgs::default() },
        ] {
            assert!(window(args.clone()).is_err(), "{args:?}");
        }
    }
}
