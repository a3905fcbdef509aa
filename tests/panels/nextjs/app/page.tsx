export default function Page() {
  return <h1>A panel</h1>;
}
