//! The charm as Juju runs it.
