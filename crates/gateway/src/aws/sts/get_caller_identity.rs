//! GetCallerIdentity.

use crate::{
    authorise::arn,
    aws::{Request, Response, response},
};
use dayfly_types::credentials::Principal;
use http::StatusCode;

pub fn get_caller_identity(request: &Request) -> Response {
    let account = request.principal.account();
    let user = match &request.principal {
        Principal::Root { account } => account.to_string(),
        Principal::ExecutionRole { session, .. } => format!("AROADAYFLY:{session}"),
    };
    response::xml(
        StatusCode::OK,
        format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>{}</Arn><UserId>{}</UserId><Account>{account}</Account></GetCallerIdentityResult>\
             <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
            response::xml_text(&arn(&request.principal)),
            response::xml_text(&user),
            request.id
        ),
    )
}
