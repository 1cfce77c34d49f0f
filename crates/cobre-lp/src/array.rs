//! Sequences of numbers that are the holder's own or lie in memory that others read too.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytemuck::Pod;

/// Memory that several holders read and nobody writes, in words of 64 bits.
pub trait Memory: Send + Sync {
    /// All of it; the same words at every call.
    fn words(&self) -> &[u64];
}

impl Memory for Vec<u64> {
    fn words(&self) -> &[u64] {
        self
    }
}

/// An immutable sequence: of the holder's own, or a part of a [`Memory`]. It is read as a slice.
///
/// ```
/// use std::sync::Arc;
/// use cobre_lp::{Array, Movable};
/// let mut bounds = Array::from(vec![1.0, 2.5]);
/// let mut words = vec![0; 8];
/// bounds.copy_into(&mut words[3..]);
/// bounds.lend(Arc::new(words), 3);
/// assert_eq!(*bounds, [1.0, 2.5]);
/// ```
#[derive(Clone)]
pub struct Array<T>(Store<T>);

#[derive(Clone)]
enum Store<T> {
    Own(Vec<T>),
    Lent { memory: Arc<dyn Memory>, first: usize, len: usize },
}

impl<T: Pod> Array<T> {
    /// The `len` elements that begin at a word of `memory`.
    ///
    /// # Panics
    /// When the memory ends before them.
    pub fn lent(memory: Arc<dyn Memory>, first: usize, len: usize) -> Self {
        assert!(first + words_of::<T>(len) <= memory.words().len(), "the sequence lies in the memory");
        Self(Store::Lent { memory, first, len })
    }

    /// True when the sequence lies in memory that others read too.
    pub fn is_lent(&self) -> bool {
        matches!(self.0, Store::Lent { .. })
    }

    /// Adds a value at the end; makes the sequence the holder's own.
    pub fn push(&mut self, value: T) {
        self.to_mut().push(value);
    }

    /// Adds values at the end; makes the sequence the holder's own.
    pub fn extend_from_slice(&mut self, values: &[T]) {
        self.to_mut().extend_from_slice(values);
    }

    /// Keeps the first `len` values.
    pub fn truncate(&mut self, new_len: usize) {
        match &mut self.0 {
            Store::Own(values) => values.truncate(new_len),
            Store::Lent { len, .. } => *len = new_len.min(*len),
        }
    }

    /// The values for writing; makes the sequence the holder's own.
    pub fn to_mut(&mut self) -> &mut Vec<T> {
        if let Store::Lent { .. } = self.0 {
            self.0 = Store::Own(self.to_vec());
        }
        match &mut self.0 {
            Store::Own(values) => values,
            Store::Lent { .. } => unreachable!("it was made the holder's own"),
        }
    }
}

/// Words that hold a number of elements.
fn words_of<T>(len: usize) -> usize {
    (len * size_of::<T>()).div_ceil(size_of::<u64>())
}

impl<T: Pod> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Store::Own(values) => values,
            Store::Lent { memory, first, len } => {
                let words = &memory.words()[*first..*first + words_of::<T>(*len)];
                &bytemuck::cast_slice(words)[..*len]
            }
        }
    }
}

impl<T> Default for Array<T> {
    fn default() -> Self {
        Self(Store::Own(Vec::new()))
    }
}

impl<T> From<Vec<T>> for Array<T> {
    fn from(values: Vec<T>) -> Self {
        Self(Store::Own(values))
    }
}

impl<T> FromIterator<T> for Array<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(Store::Own(values.into_iter().collect()))
    }
}

impl<'a, T: Pod> IntoIterator for &'a Array<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Pod + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

/// What can be moved into a [`Memory`]: an [`Array`] of whichever elements, or several of them.
pub trait Movable {
    /// Words of memory that it takes.
    fn words(&self) -> usize;

    /// Copies it into the first [`words`](Self::words) of `memory`.
    ///
    /// # Panics
    /// When there are fewer.
    fn copy_into(&self, memory: &mut [u64]);

    /// Gives up the own copy for the one that begins at a word of `memory`, made by [`copy_into`](Self::copy_into).
    ///
    /// # Panics
    /// When the memory ends before the sequence.
    fn lend(&mut self, memory: Arc<dyn Memory>, first: usize);
}

impl<T: Pod> Movable for Array<T> {
    fn words(&self) -> usize {
        words_of::<T>(self.len())
    }

    fn copy_into(&self, memory: &mut [u64]) {
        let bytes: &[u8] = bytemuck::cast_slice(self);
        let memory: &mut [u8] = bytemuck::cast_slice_mut(memory);
        memory[..bytes.len()].copy_from_slice(bytes);
    }

    fn lend(&mut self, memory: Arc<dyn Memory>, first: usize) {
        *self = Self::lent(memory, first, self.len());
    }
}

/// Names, one after another in one text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    text: Array<u8>,
    ends: Array<usize>,
}

impl Names {
    /// Adds a name.
    pub fn push(&mut self, name: &str) {
        self.text.extend_from_slice(name.as_bytes());
        let end = self.text.len();
        self.ends.push(end);
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without any name.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A name by its position.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        str::from_utf8(&self.text[start..self.ends[index]]).expect("only whole names were added")
    }

    /// The names in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The sequences it consists of.
    pub fn arrays_mut(&mut self) -> [&mut dyn Movable; 2] {
        [&mut self.text, &mut self.ends]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_sequence_reads_as_before_and_becomes_its_holders_own_when_written() {
        let mut names = Names::default();
        for name in ["", "first", "zweites ß"] {
            names.push(name);
        }
        let mut pairs: Array<[f64; 2]> = vec![[0.0, f64::INFINITY], [-1.0, 1.0]].into();
        let before = (names.clone(), pairs.clone());

        let total = pairs.words() + names.arrays_mut().iter().map(|array| array.words()).sum::<usize>();
        let mut words = vec![0; total];
        let mut place = 0;
        let mut places = Vec::new();
        for array in names.arrays_mut().into_iter().chain([&mut pairs as &mut dyn Movable]) {
            array.copy_into(&mut words[place..]);
            places.push(place);
            place += array.words();
        }
        let memory: Arc<dyn Memory> = Arc::new(words);
        for (array, place) in
            names.arrays_mut().into_iter().chain([&mut pairs as &mut dyn Movable]).zip(places)
        {
            array.lend(Arc::clone(&memory), place);
        }
        assert_eq!((&names, &pairs), (&before.0, &before.1));
        assert_eq!(names.iter().collect::<Vec<_>>(), ["", "first", "zweites ß"]);

        let mut shorter = pairs.clone();
        shorter.truncate(1);
        shorter.extend_from_slice(&[[2.0, 3.0]]);
        assert_eq!(*shorter, [[0.0, f64::INFINITY], [2.0, 3.0]]);
        assert_eq!(pairs, before.1, "others do not see what one of them writes");
        names.push("last");
        assert_eq!((names.len(), names.get(3)), (4, "last"));
    }
}
