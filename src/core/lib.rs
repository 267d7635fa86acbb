//! The product as a safe Rust API.
