//! Clients that mean harm, and an honest reader beside them, who gets whole pages all the while: the server is
//! a process of its own, what it holds at the full strength of an attack is bounded by the limits that are
//! declared, and what it holds afterwards is what it held before.
//!
//! Each attack is bounded, is played until one time leaves no more than the time before it, at most five times, and
//! ends by itself. How much each may cost is worked out beside it.

mod http1;
mod http2;
mod stage;
mod variety;
