const response = await fetch("https://api.example.com/iam/v1/whoami", {
  headers: { Authorization: `Bearer ${process.env.KEYWARD_KEY}` },
});
if (!response.ok) throw new Error(`The API responded with status ${response.status}`);
console.log(await response.text());
