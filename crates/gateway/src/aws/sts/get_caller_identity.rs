//! GetCallerIdentity.

use crate::aws::{Request, Response, response};
use http::StatusCode;

pub fn get_caller_identity(request: &Request) -> Response {
    let account = request.principal.account();
    let user = request.principal.id();
    response::xml(
        StatusCode::OK,
        format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>{}</Arn><UserId>{}</UserId><Account>{account}</Account></GetCallerIdentityResult>\
             <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
            response::xml_text(&request.principal.arn()),
            response::xml_text(&user),
            request.id
        ),
    )
}
