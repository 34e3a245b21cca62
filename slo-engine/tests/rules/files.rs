//! The command `rules`, and the shipped objectives as it compiles them.
