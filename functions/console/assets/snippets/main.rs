fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = std::env::var("KEYWARD_KEY")?;
    let mut response = ureq::get("https://api.example.com/iam/v1/whoami")
        .header("Authorization", format!("Bearer {key}"))
        .call()?;
    println!("{}", response.body_mut().read_to_string()?);
    Ok(())
}
