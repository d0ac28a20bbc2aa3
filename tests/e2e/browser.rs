//! The page in a real browser: its content, its requests, how it follows changes, and what foreign scripts see.

mod classic;
mod driver;
mod firefox;
mod story;
mod variants;

mod access;
mod banner;
mod errors;
mod finished;
mod forms;
mod live;
mod measures;
mod operator;
mod operator_write;
mod others;
mod pictures;
mod plain;
mod status;
mod subscribe;
mod tabs;
mod wave;
