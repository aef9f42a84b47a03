//! Gives addresses to Services.
