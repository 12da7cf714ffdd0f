//! An event as it lies in its queue: `1` (the format), the length of the head as four bytes little-endian, the head
//! as JSON, the payload as it came.

use bytes::{BufMut, Bytes, BytesMut};
use dayfly_types::Invocation;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const FORMAT: u8 = 1;
const PREFIX_BYTES: usize = 5;

/// An event and how far it has come.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// The function that it was accepted for; a later one of the same name does not get it.
    pub function_id: Uuid,
    /// The call.
    pub invocation: Invocation,
    /// Attempts in which the function ran.
    pub attempts: u32,
    /// Throttles and system errors since the last attempt.
    pub backoffs: u32,
}

#[derive(Serialize, Deserialize)]
struct Head {
    function_id: Uuid,
    /// Its payload is empty here.
    invocation: Invocation,
    attempts: u32,
    backoffs: u32,
}

impl Event {
    pub(super) fn new(function_id: Uuid, invocation: Invocation) -> Self {
        Self { function_id, invocation, attempts: 0, backoffs: 0 }
    }

    pub(super) fn encode(&self) -> Bytes {
        let head = Head {
            function_id: self.function_id,
            invocation: Invocation { payload: Bytes::new(), ..self.invocation.clone() },
            attempts: self.attempts,
            backoffs: self.backoffs,
        };
        let head = serde_json::to_vec(&head).expect("a head is JSON");
        let mut body = BytesMut::with_capacity(PREFIX_BYTES + head.len() + self.invocation.payload.len());
        body.put_u8(FORMAT);
        body.put_u32_le(u32::try_from(head.len()).expect("a head is smaller than the request it came in"));
        body.put_slice(&head);
        body.put_slice(&self.invocation.payload);
        body.freeze()
    }

    pub(super) fn decode(body: &Bytes) -> Result<Self, String> {
        let prefix = body.get(..PREFIX_BYTES).ok_or("it is too short")?;
        if prefix[0] != FORMAT {
            return Err(format!("its format is {}", prefix[0]));
        }
        let length = u32::from_le_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let end = PREFIX_BYTES.checked_add(length).filter(|end| *end <= body.len()).ok_or("it is cut off")?;
        let head: Head = serde_json::from_slice(&body[PREFIX_BYTES..end]).map_err(|error| error.to_string())?;
        Ok(Self {
            function_id: head.function_id,
            invocation: Invocation { payload: body.slice(end..), ..head.invocation },
            attempts: head.attempts,
            backoffs: head.backoffs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn an_event_comes_back_as_it_was_and_a_broken_one_is_an_error() {
        let mut event = Event::new(Uuid::new_v4(), testing::invocation("f", b"{\"a\": \"\\u0000\"}"));
        event.attempts = 2;
        event.backoffs = 7;
        let body = event.encode();
        let back = Event::decode(&body).unwrap();
        assert_eq!(format!("{back:?}"), format!("{event:?}"));
        for broken in [Bytes::new(), body.slice(..4), body.slice(..20), body.slice(1..)] {
            assert!(Event::decode(&broken).is_err(), "{broken:?}");
        }
    }
}
