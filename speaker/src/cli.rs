//! Command line to settings.
