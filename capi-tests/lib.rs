//! Helpers of the C API tests.
