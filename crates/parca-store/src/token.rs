//! Where a provider's tokens come from: one a relation, and the same again when it is asked again.

use decima_juju::RelationId;

use crate::store_config::BearerToken;

/// Why a source has no token to give.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;

/// Gives the token of a relation.
///
/// A provider asks at every publication, which may be at every hook. **Asking again must not rotate the token**: a changed
/// token is a changed databag, which makes every sender reconfigure itself. A bare function is therefore not a source. Say
/// which of the two it is:
///
/// - [`OncePerRelation`] for a function that makes a new token: it is asked only where none is handed out yet.
/// - [`Stored`] for a function that looks a token up, for example in a secret labelled by the relation's id.
///
/// ```compile_fail,E0277
/// use parca_store::{BearerToken, ParcaStoreEndpointProvider, ProviderConfig};
///
/// // It would rotate every relation's token at every hook.
/// ParcaStoreEndpointProvider::new(ProviderConfig::default()).with_tokens(|_| BearerToken::new("random"));
/// ```
pub trait TokenSource {
    /// The token to hand out over a relation; `None` if this relation needs none. `published` is what its databag holds.
    fn token(
        &mut self,
        relation: &RelationId,
        published: Option<&BearerToken>,
    ) -> Result<Option<BearerToken>, TokenError>;
}

/// No relation needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoTokens;

impl TokenSource for NoTokens {
    fn token(&mut self, _: &RelationId, _: Option<&BearerToken>) -> Result<Option<BearerToken>, TokenError> {
        Ok(None)
    }
}

/// A function that makes a token, asked only for relations whose databag holds none.
#[derive(Debug, Clone, Copy)]
pub struct OncePerRelation<F>(pub F);

impl<F, E> TokenSource for OncePerRelation<F>
where
    F: FnMut(&RelationId) -> Result<BearerToken, E>,
    E: Into<TokenError>,
{
    fn token(
        &mut self,
        relation: &RelationId,
        published: Option<&BearerToken>,
    ) -> Result<Option<BearerToken>, TokenError> {
        match published {
            Some(token) => Ok(Some(token.clone())),
            None => (self.0)(relation).map(Some).map_err(Into::into),
        }
    }
}

/// A function that looks up the token of a relation. What it says is handed out, whatever the databag holds.
#[derive(Debug, Clone, Copy)]
pub struct Stored<F>(pub F);

impl<F, E> TokenSource for Stored<F>
where
    F: FnMut(&RelationId) -> Result<BearerToken, E>,
    E: Into<TokenError>,
{
    fn token(
        &mut self,
        relation: &RelationId,
        _: Option<&BearerToken>,
    ) -> Result<Option<BearerToken>, TokenError> {
        (self.0)(relation).map(Some).map_err(Into::into)
    }
}
