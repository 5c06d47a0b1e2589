//! Tables and scenario files of the breaker.
