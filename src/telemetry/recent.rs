//! stub
pub struct Recent;
