//! Tables and scenario files of the choice.
