//! The page in a real browser: what it shows, what it asks for, how it follows, and what the scripts of others see.

mod driver;
mod story;

mod access;
mod forms;
mod live;
mod others;
mod pictures;
mod plain;
