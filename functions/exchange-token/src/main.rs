//! The Lambda function `exchange-token`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve_invocable::<exchange_token::ExchangeToken>().await
}
