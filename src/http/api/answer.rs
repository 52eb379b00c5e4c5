//! Answers in Prometheus' JSON.
