//! A function file on its way in: hashed and written as it comes, never whole in memory.

use super::source::{Failure, Source};
use dayfly_store::{Blobs, NewBlob};

/// Takes the body of the frame that began last. Nobody sees the file before it is kept; dropped, it is gone.
pub async fn receive(source: &mut Source, blobs: &dyn Blobs) -> Result<Box<dyn NewBlob>, Failure> {
    let mut file = blobs.begin().await?;
    while let Some(piece) = source.body_piece().await? {
        file.write(piece).await?;
    }
    Ok(file)
}
