//! Marbre.
#![forbid(unsafe_code)]

pub mod clock;
pub mod facts;
pub mod fragment;

pub mod degradation;
pub mod layout;

pub mod render;
pub mod report;
pub mod site;
