//! `POST /iam/v1/service-accounts/{id}/reviews`: records a review of an account's access.

use shared::api::{Review, ReviewServiceAccountRequest};
use shared::domain::{Fingerprint, NewReview, ReviewDecision, ReviewNote};
use shared::http::{Admin, Failure, Fields, Reply, Request};

use crate::UpdateServiceAccount;

/// Review a service account
///
/// Records an admin's answer on whether a service account still needs its access, as an
/// audit event. The answer changes nothing else: the role and the keys stay as they are.
///
/// A retry with the same `Idempotency-Key` and the same body records nothing and returns the
/// review.
#[utoipa::path(
    post,
    path = "/iam/v1/service-accounts/{id}/reviews",
    operation_id = "reviewServiceAccount",
    tag = "Access review",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = ReviewServiceAccountRequest,
    responses(
        (status = 201, description = "The review was recorded, by this request or by an earlier one with the same `Idempotency-Key`.", body = Review),
        (status = 400, description = "malformed_id, malformed_request, malformed_json"),
        (status = 404, description = "service_account_not_found"),
        (status = 409, description = "concurrent_changes"),
        (status = 422, description = "invalid_fields, idempotency_key_reused"),
    )
)]
pub async fn review_service_account(
    function: &UpdateServiceAccount,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let id = request.account_id()?;
    let change = request.change_request(actor)?;
    let body: ReviewServiceAccountRequest = request.json()?;
    let mut fields = Fields::default();
    let decision = ReviewDecision::parse(&body.decision).ok_or("must be `keep`, `narrow` or `revoke`");
    let decision = fields.check("/decision", decision);
    let note = fields.check("/note", ReviewNote::parse(&body.note));
    let new = fields.finish(decision.zip(note).map(|(decision, note)| NewReview { decision, note }))?;
    let review = function.store.review_account(id, &new, Fingerprint::new(&body), &change).await?;
    Ok(Reply::created_here(&Review::from(review)))
}
