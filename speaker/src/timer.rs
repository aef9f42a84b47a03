//! One deadline out of many timers.
