//! Tests of bringing a stored model back.
