//! Whether output waits: streams whose memory is as it was when they were flushed have nothing to write.

use super::interpreter::{Ref, State, item, none, number_at};
use core::ptr::null_mut;

/// An object of the interpreter's and what its memory was, but for the count of references.
pub struct Watched {
    pub object: Ref,
    pub words: usize,
    pub was: [u64; Self::WORDS_MAX],
}

impl Watched {
    const WORDS_MAX: usize = 48;
    const COUNT_WORDS: usize = 1;

    pub fn new(object: Ref, bytes: usize) -> Self {
        let words = bytes / size_of::<u64>();
        let object = if object == none() || words > Self::WORDS_MAX { null_mut() } else { object };
        let mut watched = Self { object, words, was: [0; Self::WORDS_MAX] };
        for index in Self::COUNT_WORDS..watched.len() {
            watched.was[index] = watched.word(index);
        }
        watched
    }

    pub fn len(&self) -> usize {
        if self.object.is_null() { 0 } else { self.words }
    }

    pub fn word(&self, index: usize) -> u64 {
        // SAFETY: the object is so many words long, and the state keeps it.
        unsafe { self.object.cast::<u64>().add(index).read() }
    }

    pub fn is_as_it_was(&self) -> bool {
        (Self::COUNT_WORDS..self.len()).all(|index| self.was[index] == self.word(index))
    }
}

/// Standard output, its buffer, standard error, its buffer, when they were flushed.
pub struct Streams([Watched; 4]);

impl Streams {
    pub fn of(state: &State) -> Self {
        Self([0, 1, 2, 3].map(|index| Watched::new(item(state.streams, index), number_at(state.stream_bytes, index))))
    }

    /// Whether nothing waits to be written by a stream.
    pub fn are_calm(&self, stream: Ref) -> bool {
        let [one, its_buffer, other, others_buffer] = &self.0;
        [(one, its_buffer), (other, others_buffer)]
            .iter()
            .any(|(text, buffer)| text.object == stream && text.is_as_it_was() && buffer.is_as_it_was())
    }
}
