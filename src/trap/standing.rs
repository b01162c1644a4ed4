//! Races that no later clean write has covered yet.

use std::sync::Arc;

use super::by_block::ByBlock;
use super::tally::Span;
use crate::clock::Moment;
use crate::record::RaceId;

/// A race that stands.
#[derive(Debug, Clone)]
pub struct Open {
    /// Its number.
    pub race: RaceId,
    /// When its data was fetched.
    pub at: Moment,
    /// The label it counts for.
    pub span: Arc<Span>,
}

/// The standing races by block. Races beyond those that can be remembered stay counted as standing,
/// which overstates and never hides.
pub type Standing = ByBlock<Open>;
