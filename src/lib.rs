//! Marbre.
#![forbid(unsafe_code)]

pub mod clock;
pub mod facts;
pub mod fragment;

pub mod degradation;
pub mod layout;

pub mod cache;
pub mod compose;
pub mod fetch;
pub mod plan;
pub mod render;
pub mod report;
pub mod site;
