//! Things with small numbers.

/// Gives things numbers, and gives the numbers of removed things away again.
pub(super) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    pub(super) fn at(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, number: u32) -> Option<&mut T> {
        self.items.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn insert(&mut self, item: T) -> u32 {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.items.get_mut(number as usize)
        {
            *place = Some(item);
            return number;
        }
        self.items.push(Some(item));
        u32::try_from(self.items.len() - 1).unwrap_or(u32::MAX)
    }

    /// Puts something under a number of its own. Until [`reclaim`](Self::reclaim), free numbers are not known.
    pub(super) fn put(&mut self, number: u32, item: T) -> Option<T> {
        let index = number as usize;
        if self.items.len() <= index {
            self.items.resize_with(index + 1, || None);
        }
        self.items.get_mut(index).and_then(|place| place.replace(item))
    }

    /// Finds the free numbers.
    pub(super) fn reclaim(&mut self) {
        let numbers = self.items.iter().enumerate().filter(|(_, item)| item.is_none());
        self.free = numbers.filter_map(|(number, _)| u32::try_from(number).ok()).collect();
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let item = self.items.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(item)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> + '_ {
        let numbered = self.items.iter().enumerate();
        numbered.filter_map(|(number, item)| Some((u32::try_from(number).ok()?, item.as_ref()?)))
    }
}
