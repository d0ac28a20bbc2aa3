{# Asks again after 5, 10, 20, 40 and then 60 seconds, a quarter more or less, and loads the page again once the service answers. Words come from data- attributes, so these bytes never vary. Comments vanish when rendered. #}
(()=>{
const D=document,W=D.body.dataset,$=i=>D.getElementById(i),K='backsoon-retry',wait=$('wait'),next=$('next'),host=$('host');
if(host)host.textContent=location.hostname;
{# the answer to a form has no words for this: what was sent is never sent again #}
if(!wait||!W.again)return;
let n=0,due,busy;
const
{# the number of attempts outlives a reload; it is forgotten after ten minutes #}
keep=()=>{try{sessionStorage.setItem(K,JSON.stringify([location.href,n,Date.now()]))}catch{}},
plan=()=>{due=Date.now()+Math.min(5*2**n,60)*1e3*(.75+Math.random()/2);n++;keep()},
show=t=>{if(next.textContent!=t)next.textContent=t},
{# HEAD changes nothing, and until there is an answer this page stays: it keeps the focus, and a browser without network has no page of its own to show #}
ask=async()=>{busy=1;show(W.now);let up;
try{const r=await fetch(location.href,{method:'HEAD',cache:'no-store',redirect:'manual',headers:{Accept:'text/html'}});
up=r.type=='opaqueredirect'||r.status<502||r.status>504}catch{}
if(up){$('say').textContent=W.back;return location.reload()}
busy=0;plan();tick()},
tick=()=>{if(busy||D.hidden)return;
const s=Math.ceil((due-Date.now())/1e3);if(s<=0)return ask();
show(W.again.replace('{clock}',((s/60|0)+':'+(''+s%60).padStart(2,0)).replace(/\d/g,c=>W.digits[c])))};
try{const[u,c,t]=JSON.parse(sessionStorage.getItem(K));if(u==location.href&&Date.now()-t<6e5)n=c}catch{}
plan();wait.hidden=false;tick();setInterval(tick,1e3);
{# a tab that nobody sees asks nothing, and catches up when it is seen #}
D.addEventListener('visibilitychange',tick);
})()
