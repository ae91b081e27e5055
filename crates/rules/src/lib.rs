//! Pure decisions of an Ottla broker.
