//! The wire types of the metallb.io kinds, and every name that other programs see.
